//go:build !unix

package toolbox

import "context"

// Lock does nothing where none of the programs runs anyway; installing twice is
// only slower, for the last step is a rename.
func Lock(context.Context, string, func()) (unlock func(), err error) { return func() {}, nil }
