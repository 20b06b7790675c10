// Package walkthrough plays an installation from its first command to its last, against real Kubernetes API servers, real Envoys and real DNS.
//
// Three clusters stand in America, Europe and Asia, each with an API server, its
// controllers, two machines whose pods are processes, a meridiand and an Envoy. The
// commands are those of deploy/walkthrough; what an operator would do there by
// hand, the tests do here, with users in three continents looking on.
//
// It runs with the build tag e2e ("make e2e"), in a network of its own.
package walkthrough
