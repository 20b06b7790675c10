//go:build !unix

package envoybin

import "context"

// lock does nothing where Envoy does not run anyway; installing twice is only
// slower, for the last step is a rename.
func lock(context.Context, string, func()) (unlock func(), err error) { return func() {}, nil }
