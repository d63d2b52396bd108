package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/slipstream-rec/slipstream/config"
)

// keyring finds callers by the hash of their key, so that the lookup time reveals nothing about
// keys. An empty keyring allows everything.
type keyring map[[sha256.Size]byte]config.APIKey

func newKeyring(keys []config.APIKey) (keyring, error) {
	ring := keyring{}
	for _, k := range keys {
		sum := sha256.Sum256([]byte(k.Key))
		if text, ok := strings.CutPrefix(k.Key, "sha256:"); ok {
			raw, err := hex.DecodeString(text)
			if err != nil || len(raw) != sha256.Size {
				return nil, fmt.Errorf(
					"the hash of API key %s is not 64 hexadecimal digits", k.Name,
				)
			}
			sum = [sha256.Size]byte(raw)
		}
		ring[sum] = config.APIKey{Name: k.Name, Roles: k.Roles}
	}
	return ring, nil
}

// allow checks that the request has a role. The status is 200, 401 or 403.
func (k keyring) allow(r *http.Request, role string) (status int, detail string) {
	if len(k) == 0 {
		return http.StatusOK, ""
	}
	key := r.Header.Get("X-API-Key")
	if key == "" {
		key = bearer(r.Header.Get("Authorization"))
	}
	if key == "" {
		return http.StatusUnauthorized, "send an API key: Authorization: Bearer KEY, or " +
			"X-API-Key: KEY"
	}
	caller, ok := k[sha256.Sum256([]byte(key))]
	if !ok {
		return http.StatusUnauthorized, "the API key is unknown"
	}
	if !slices.Contains(caller.Roles, role) {
		return http.StatusForbidden, fmt.Sprintf(
			"the API key %s lacks the role %s", caller.Name, role,
		)
	}
	return http.StatusOK, ""
}

// bearer returns the token of an Authorization header, or "". The scheme's name may be in any case
// (RFC 9110, section 11.1).
func bearer(authorization string) string {
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimLeft(token, " ")
}

// permit returns true if the request has a role. Otherwise it answers the request.
func (s *Server) permit(w http.ResponseWriter, r *http.Request, role string) bool {
	status, detail := s.keys.allow(r, role)
	if status == http.StatusOK {
		return true
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	problem(w, status, detail)
	return false
}

// require is permit as middleware of the router.
func (s *Server) require(role string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if s.permit(w, r, role) {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// guarded completes an operation: it checks and documents the role, bounds the body, and documents
// the errors that every operation can return.
func (s *Server) guarded(o huma.Operation, role string) huma.Operation {
	o.Security, o.MaxBodyBytes = secured(role), int64(s.cfg.MaxBodyBytes)
	o.Errors = append(
		o.Errors, http.StatusUnauthorized, http.StatusForbidden, http.StatusServiceUnavailable,
	)
	o.Middlewares = append(o.Middlewares, func(ctx huma.Context, next func(huma.Context)) {
		r, w := humachi.Unwrap(ctx)
		if s.permit(w, r, role) {
			next(ctx)
		}
	})
	return o
}

func secured(role string) []map[string][]string {
	return []map[string][]string{{"bearer": {role}}, {"key": {role}}}
}

// detached returns a context without the deadline of the request. It ends when the client
// disconnects.
func detached(ctx context.Context) context.Context {
	if c, ok := ctx.Value(clientKey{}).(context.Context); ok {
		return c
	}
	return ctx
}
