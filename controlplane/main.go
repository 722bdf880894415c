// Command controlplane is a real Kubernetes control plane in one binary, one component per process: the testbed starts
// it as child processes on loopback.
//
//	controlplane pki --address 127.20.0.1 --server https://127.20.0.1:16443 --dir DIR --kubeconfig FILE
//	controlplane etcd --data DIR --client-url http://127.20.0.1:12379 --peer-url http://127.20.0.1:12380
//	controlplane apiserver --pki DIR --address 127.20.0.1 --port 16443 --etcd http://127.20.0.1:12379
//	controlplane controller-manager --pki DIR --kubeconfig FILE --address 127.20.0.1 --port 20257
//	controlplane scheduler --pki DIR --kubeconfig FILE --address 127.20.0.1 --port 20259
//	controlplane reaper --state DIR
//	controlplane kubectl ...
//
// The four servers end when their standard input does, so that the death of the process holding the other end of the
// pipe is theirs too. Arguments after the flags of apiserver, controller-manager and scheduler are handed on to the
// Kubernetes command, and win over the flags set here. Called through a link named kubectl, the binary is kubectl.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if filepath.Base(os.Args[0]) == "kubectl" {
		kubectl()
		return
	}
	if len(os.Args) < 2 {
		fail("which component? one of: pki, etcd, apiserver, controller-manager, scheduler, reaper, kubectl")
	}
	args := os.Args[2:]
	var err error
	switch component := os.Args[1]; component {
	case "pki":
		err = pki(args)
	case "etcd":
		err = etcd(args)
	case "apiserver":
		err = apiserver(args)
	case "controller-manager":
		err = controllerManager(args)
	case "scheduler":
		err = scheduler(args)
	case "reaper":
		err = reaper(args)
	case "kubectl":
		// kubectl reads os.Args itself, for its plugins and its verbosity.
		os.Args = append([]string{"kubectl"}, args...)
		kubectl()
	default:
		err = fmt.Errorf("no component %q", component)
	}
	if err != nil {
		fail(err.Error())
	}
}

func fail(reason string) {
	fmt.Fprintln(os.Stderr, "controlplane:", reason)
	os.Exit(1)
}
