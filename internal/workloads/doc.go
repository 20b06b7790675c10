// Package workloads plays what becomes of workloads over many clusters, from the command that federates them to the death of a cluster, against real Kubernetes API servers.
//
// Five clusters, later six, stand on as many continents, each with an API server, its
// controllers and machines whose pods are processes; one meridiand carries out
// what the commands of the command line ask for. Ledgers watch all the while that
// nothing is missing and nothing is there twice.
//
// It runs with the build tag e2e ("make e2e"), in a network of its own.
package workloads
