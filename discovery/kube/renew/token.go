package renew

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/meridian-lb/meridian/api/field"
)

// token is what a token says of itself. Nobody has checked it; its API server will.
type token struct {
	namespace, account string // of the ServiceAccount
	issued, expires    time.Time
	audiences          []string
}

// life is how long it was made for; at least the ten minutes that API servers give.
func (t token) life() time.Duration { return max(10*time.Minute, t.expires.Sub(t.issued)) }

// readToken reads a token of a ServiceAccount (RFC 7519) without its signature.
func readToken(text string) (token, error) {
	wrong := errors.New("it holds no token of a ServiceAccount that says when it expires")
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return token{}, wrong
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return token{}, wrong
	}
	var claims struct {
		Subject   string   `json:"sub"`
		Audiences []string `json:"aud"`
		Issued    int64    `json:"iat"`
		Expires   int64    `json:"exp"`
	}
	if err := json.Unmarshal(body, &claims); err != nil || claims.Expires <= 0 || claims.Issued < 0 || claims.Issued >= claims.Expires {
		return token{}, wrong
	}
	namespace, account, ok := accountOf(claims.Subject)
	if !ok || field.Label(namespace) != nil || field.Subdomain(account) != nil {
		return token{}, wrong
	}
	return token{
		namespace: namespace, account: account, audiences: claims.Audiences,
		issued: time.Unix(claims.Issued, 0), expires: time.Unix(claims.Expires, 0),
	}, nil
}
