package admin

import "testing"

func TestPathIsNormalisedAsGatewaysDo(t *testing.T) {
	for path, want := range map[string]string{
		"/": "/", "/cart": "/cart", "/cart/": "/cart/", "/cart/../x": "/x", "/cart/./x": "/cart/x", "/cart/..": "/",
		"/../../x": "/x", "//cart///x": "/cart/x", "/a//../b": "/a/b", "/a/.": "/a/", "/.hidden/..x": "/.hidden/..x",
	} {
		if got := normal(path); got != want {
			t.Errorf("%s becomes %s, want %s", path, got, want)
		}
	}
}
