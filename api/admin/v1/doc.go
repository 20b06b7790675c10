// Package adminv1 is the admin API of a daemon: what people and their tools ask it, and the orders they give it.
package adminv1

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate ../../.. --template ../../../buf.gen.yaml --output ../../.. --path ../../../api/admin
