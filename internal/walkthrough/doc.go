// Package walkthrough plays installations from their first command to their last, against real Kubernetes API servers, real Envoys and real DNS.
//
// Three clusters stand in America, Europe and Asia, each with an API server, its
// controllers and two machines whose pods are processes; users in three continents
// look on. TestPromise runs the scripts of deploy/walkthrough, and what "meridian init"
// writes runs as the pods that it says: the dedicated API, daemons and gateways. In
// TestWalkthrough the cluster itself is the host, daemons and gateways run beside the
// clusters, where they can be killed one by one, and much goes wrong.
//
// It runs with the build tag e2e ("make e2e"), in a network of its own.
package walkthrough
