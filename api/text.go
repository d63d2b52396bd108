package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"

	"github.com/slipstream-rec/slipstream/schemas"
)

// text answers 400 to a request whose path or query is not UTF-8, and names the place: an id with a
// replaced character would be another id. Bodies are checked where they are read.
func (s *Server) text(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := checkURL(r.URL); err != nil {
			problem(w, http.StatusBadRequest, err.Error())
			return
		}
		next.ServeHTTP(w, r)
	})
}

func checkURL(u *url.URL) error {
	if err := schemas.CheckUTF8(u.Path); err != nil {
		return fmt.Errorf("the path %q %w", u.Path, err)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fmt.Errorf("the query cannot be read: %w", err)
	}
	for name, values := range query {
		if err := schemas.CheckUTF8(name); err != nil {
			return fmt.Errorf("the query's name %q %w", name, err)
		}
		for _, v := range values {
			if err := schemas.CheckUTF8(v); err != nil {
				return fmt.Errorf("the query's %s %q %w", name, v, err)
			}
		}
	}
	return nil
}

// formats are huma's, but for bodies that are no text, and for null, which no field of a body is.
func formats() map[string]huma.Format {
	checked := huma.DefaultJSONFormat
	checked.Unmarshal = func(data []byte, v any) error {
		if err := schemas.CheckJSONText(data); err != nil {
			return fmt.Errorf("the body %w", err)
		}
		if err := json.Unmarshal(data, v); err != nil {
			return err
		}
		if parsed, ok := v.(*any); ok { // which is to be validated
			*parsed = withNulls(*parsed)
		}
		return nil
	}
	f := maps.Clone(huma.DefaultFormats)
	f["application/json"], f["json"] = checked, checked
	return f
}

// null stands for a null of a body that is validated. huma takes nil for a field that is not given,
// so that a script whose variable is missing would choose more dead letters than it means to.
type null struct{}

// MarshalJSON shows it in an answer that says what is wrong.
func (null) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// withNulls puts null in the place of each nil of a decoded body. It changes the body.
func withNulls(v any) any {
	switch v := v.(type) {
	case nil:
		return null{}
	case map[string]any:
		for k, x := range v {
			v[k] = withNulls(x)
		}
	case []any:
		for i, x := range v {
			v[i] = withNulls(x)
		}
	}
	return v
}
