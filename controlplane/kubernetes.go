package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // as kubectl's own main does
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	kubectlcmd "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserverapp "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanagerapp "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	schedulerapp "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// place is where a component finds its files and serves.
type place struct {
	pki, kubeconfig, address, etcd string
	port                           int
	rest                           []string
}

func parsePlace(component string, args []string) place {
	var p place
	flags := flag.NewFlagSet(component, flag.ExitOnError)
	flags.StringVar(&p.pki, "pki", "", "directory written by the pki command")
	flags.StringVar(&p.address, "address", "127.0.0.1", "address to serve on")
	flags.IntVar(&p.port, "port", 0, "port to serve on")
	if component == "apiserver" {
		flags.StringVar(&p.etcd, "etcd", "", "URL of etcd")
	} else {
		flags.StringVar(&p.kubeconfig, "kubeconfig", "", "kubeconfig of the administrator")
	}
	_ = flags.Parse(args) // ExitOnError: it does not return an error
	p.rest = flags.Args()
	return p
}

func (p place) file(name string) string {
	return filepath.Join(p.pki, name)
}

// serving are the flags that every server has.
func (p place) serving() []string {
	return []string{
		"--bind-address=" + p.address,
		fmt.Sprintf("--secure-port=%d", p.port),
		"--tls-cert-file=" + p.file(serverCert),
		"--tls-private-key-file=" + p.file(serverKey),
		"--profiling=false",
	}
}

// client are the flags of a component that is itself a client of the API server.
func (p place) client() []string {
	return []string{
		"--kubeconfig=" + p.kubeconfig,
		"--authentication-kubeconfig=" + p.kubeconfig,
		"--authorization-kubeconfig=" + p.kubeconfig,
		"--authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics",
		"--leader-elect=false",
		// The testbed starts hundreds of pods at once; the limit should be the machine, not the client.
		"--kube-api-qps=2000",
		"--kube-api-burst=4000",
	}
}

func apiserver(args []string) error {
	p := parsePlace("apiserver", args)
	return serve(apiserverapp.NewAPIServerCommand(), p.serving(), []string{
		"--etcd-servers=" + p.etcd,
		"--advertise-address=" + p.address,
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=" + serviceRange,
		"--authorization-mode=RBAC",
		"--allow-privileged=true",
		"--anonymous-auth=true",
		// There is no controller that would create the accounts which this plugin demands.
		"--disable-admission-plugins=ServiceAccount",
		"--client-ca-file=" + p.file(caCert),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + p.file(serviceAccountPublic),
		"--service-account-signing-key-file=" + p.file(serviceAccountKey),
		"--requestheader-client-ca-file=" + p.file(frontProxyCACert),
		"--requestheader-allowed-names=" + frontProxyName,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + p.file(frontProxyCert),
		"--proxy-client-key-file=" + p.file(frontProxyKey),
		"--max-requests-inflight=3000",
		"--max-mutating-requests-inflight=1000",
		"--event-ttl=15m",
	}, p.rest)
}

func controllerManager(args []string) error {
	p := parsePlace("controller-manager", args)
	return serve(controllermanagerapp.NewControllerManagerCommand(), p.serving(), p.client(), []string{
		"--controllers=deployment-controller,replicaset-controller,statefulset-controller," +
			"garbage-collector-controller,namespace-controller,horizontal-pod-autoscaler-controller," +
			"pod-garbage-collector-controller",
		"--service-account-private-key-file=" + p.file(serviceAccountKey),
		"--root-ca-file=" + p.file(caCert),
		"--concurrent-deployment-syncs=20",
		"--concurrent-replicaset-syncs=20",
		"--concurrent-gc-syncs=20",
		"--concurrent-namespace-syncs=10",
		// The defaults (15 s, 5 min, 30 s) would leave an HPA without a metric for most of a demonstration.
		"--horizontal-pod-autoscaler-sync-period=5s",
		"--horizontal-pod-autoscaler-cpu-initialization-period=5s",
		"--horizontal-pod-autoscaler-initial-readiness-delay=3s",
	}, p.rest)
}

func scheduler(args []string) error {
	p := parsePlace("scheduler", args)
	return serve(schedulerapp.NewSchedulerCommand(), p.serving(), p.client(), p.rest)
}

// serve runs one Kubernetes server until a signal or the end of standard input, and does not return.
func serve(command *cobra.Command, flags ...[]string) error {
	exitOnEnd()
	var all []string
	for _, some := range flags {
		all = append(all, some...)
	}
	command.SetArgs(all)
	os.Exit(cli.Run(command))
	return nil
}

// kubectl is the main function of cmd/kubectl in k8s.io/kubernetes.
func kubectl() {
	logs.GlogSetter(kubectlcmd.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectlcmd.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}
