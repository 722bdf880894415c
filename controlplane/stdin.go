package main

import (
	"io"
	"os"

	"k8s.io/klog/v2"
)

// waitForEnd returns when standard input ends, that is when the last holder of the pipe's write end is gone.
func waitForEnd() {
	// An input that cannot be read is as good as ended.
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// exitOnEnd ends this process as soon as standard input does. At once and not gracefully: the data is thrown away with
// the plane, and a graceful stop of the API server would only wait for an etcd that ends at the same moment.
func exitOnEnd() {
	go func() {
		waitForEnd()
		klog.Flush()
		os.Exit(0)
	}()
}
