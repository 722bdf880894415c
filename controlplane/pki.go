package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Files of the directory written by pki. The keys of the authorities are kept as well, so that a test can sign a
// client certificate of its own (CN the user, O the groups).
const (
	caCert               = "ca.crt"
	caKey                = "ca.key"
	serverCert           = "server.crt"
	serverKey            = "server.key"
	adminCert            = "admin.crt"
	adminKey             = "admin.key"
	frontProxyCACert     = "front-proxy-ca.crt"
	frontProxyCAKey      = "front-proxy-ca.key"
	frontProxyCert       = "front-proxy-client.crt"
	frontProxyKey        = "front-proxy-client.key"
	serviceAccountKey    = "service-account.key"
	serviceAccountPublic = "service-account.pub"

	frontProxyName = "front-proxy-client"

	serviceRange = "10.96.0.0/16"
	// The first address of serviceRange, that of the Service "kubernetes".
	kubernetesServiceIP = "10.96.0.1"
	serviceAccountBits  = 2048
	validFor            = 365 * 24 * time.Hour
)

// addresses is a flag that may be given more than once.
type addresses []net.IP

func (a *addresses) String() string { return fmt.Sprint([]net.IP(*a)) }

func (a *addresses) Set(text string) error {
	ip := net.ParseIP(text)
	if ip == nil {
		return fmt.Errorf("not an IP address: %q", text)
	}
	*a = append(*a, ip)
	return nil
}

func pki(args []string) error {
	flags := flag.NewFlagSet("pki", flag.ExitOnError)
	dir := flags.String("dir", "", "directory to write keys and certificates into")
	server := flags.String("server", "", "URL of the API server, for the kubeconfig")
	kubeconfig := flags.String("kubeconfig", "", "file to write the administrator's kubeconfig to")
	serverIPs := addresses{net.IPv4(127, 0, 0, 1), net.ParseIP(kubernetesServiceIP)}
	flags.Var(&serverIPs, "address", "an address of the servers, beside 127.0.0.1; may be repeated")
	_ = flags.Parse(args) // ExitOnError: it does not return an error

	if *dir == "" || *server == "" || *kubeconfig == "" {
		return errors.New("pki needs --dir, --server and --kubeconfig")
	}
	if err := os.MkdirAll(*dir, 0o700); err != nil {
		return err
	}
	ca, err := newAuthority("windlass-testbed", *dir, caCert, caKey)
	if err != nil {
		return err
	}
	if err := ca.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPAddresses: serverIPs,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, serverCert, serverKey); err != nil {
		return err
	}
	if err := ca.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, adminCert, adminKey); err != nil {
		return err
	}
	frontProxyCA, err := newAuthority("windlass-testbed-front-proxy", *dir, frontProxyCACert, frontProxyCAKey)
	if err != nil {
		return err
	}
	if err := frontProxyCA.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: frontProxyName},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, frontProxyCert, frontProxyKey); err != nil {
		return err
	}
	if err := writeServiceAccountKey(*dir); err != nil {
		return err
	}
	return writeKubeconfig(*dir, *server, *kubeconfig)
}

// authority is a certificate authority whose files lie in dir.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(name, dir, certFile, keyFile string) (*authority, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	ca := &authority{dir: dir}
	der, key, err := ca.sign(template)
	if err != nil {
		return nil, err
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	ca.key = key
	return ca, ca.write(der, key, certFile, keyFile)
}

func (ca *authority) issue(template *x509.Certificate, certFile, keyFile string) error {
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, key, err := ca.sign(template)
	if err != nil {
		return err
	}
	return ca.write(der, key, certFile, keyFile)
}

// sign completes the template, makes a key for it and signs it: by itself as long as the authority has no certificate.
func (ca *authority) sign(template *x509.Certificate) ([]byte, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template.NotBefore = now.Add(-time.Minute)
	template.NotAfter = now.Add(validFor)
	parent, signer := ca.cert, ca.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	return der, key, err
}

func (ca *authority) write(der []byte, key crypto.Signer, certFile, keyFile string) error {
	if err := writePEM(filepath.Join(ca.dir, certFile), "CERTIFICATE", der); err != nil {
		return err
	}
	return writeKey(filepath.Join(ca.dir, keyFile), key)
}

// writeServiceAccountKey writes the pair that tokens are signed and checked with; RSA, as Kubernetes itself does.
func writeServiceAccountKey(dir string) error {
	key, err := rsa.GenerateKey(rand.Reader, serviceAccountBits)
	if err != nil {
		return err
	}
	if err := writeKey(filepath.Join(dir, serviceAccountKey), key); err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, serviceAccountPublic), "PUBLIC KEY", public)
}

// writeKubeconfig embeds the certificates, so that the file can be copied elsewhere.
func writeKubeconfig(dir, server, file string) error {
	if !strings.HasPrefix(server, "https://") {
		return fmt.Errorf("--server is no https URL: %q", server)
	}
	const name = "windlass-testbed"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthority: filepath.Join(dir, caCert)}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{
		ClientCertificate: filepath.Join(dir, adminCert),
		ClientKey:         filepath.Join(dir, adminKey),
	}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: "admin"}
	config.CurrentContext = name
	if err := clientcmdapi.FlattenConfig(config); err != nil {
		return err
	}
	return clientcmd.WriteToFile(*config, file)
}

func writeKey(file string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(file, "PRIVATE KEY", der)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
