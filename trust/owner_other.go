//go:build !unix

package trust

// inherit: files belong to who wrote them here.
func inherit(string, string, []string) error { return nil }
