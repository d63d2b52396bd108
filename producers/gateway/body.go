package gateway

import (
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

// errBusy says that the bytes in flight are at their bound.
var errBusy = errors.New("too many bytes are in flight")

// reserving counts what is read as in flight, and stops reading at the bound.
type reserving struct {
	from     io.Reader
	gateway  *Gateway
	reserved int64
}

func (r *reserving) Read(b []byte) (int, error) {
	n, err := r.from.Read(b)
	r.reserved += int64(n)
	if r.gateway.bytes.Add(int64(n)) > r.gateway.cfg.MaxInFlightBytes {
		return n, errBusy
	}
	return n, err
}

func (r *reserving) release() { r.gateway.bytes.Add(-r.reserved) }

// body reads the request's body, unpacked, within the gateway's bounds. What it returns counts as
// in flight until release is called.
func (g *Gateway) body(
	w http.ResponseWriter,
	r *http.Request,
) (body []byte, release func(), p *Problem) {
	tooLarge := problem(
		http.StatusRequestEntityTooLarge,
		"the request is larger than %d bytes: send fewer events at a time", g.cfg.MaxRequestBytes,
	)
	if r.ContentLength > g.cfg.MaxRequestBytes {
		return nil, nil, tooLarge
	}
	from := io.Reader(http.MaxBytesReader(w, r.Body, g.cfg.MaxRequestBytes))
	encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding")))
	switch encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(from)
		if err != nil {
			return nil, nil, problem(http.StatusBadRequest, "the body is not gzip: %v", err)
		}
		from = z
	default:
		return nil, nil, problem(
			http.StatusUnsupportedMediaType,
			"Content-Encoding %q is not understood: send gzip or none", encoding,
		)
	}
	counted := &reserving{from: io.LimitReader(from, g.cfg.MaxRequestBytes+1), gateway: g}
	body, err := io.ReadAll(counted)
	var tooMany *http.MaxBytesError
	switch {
	case errors.As(err, &tooMany) || int64(len(body)) > g.cfg.MaxRequestBytes:
		p = tooLarge
	case errors.Is(err, errBusy):
		p = busy(errBusy.Error())
	case err != nil:
		p = problem(http.StatusBadRequest, "the body ends early or cannot be unpacked: %v", err)
	}
	if p != nil {
		counted.release()
		return nil, nil, p
	}
	return body, counted.release, nil
}

// mediaType returns the media type of the request's body in lower case, without parameters; "" when
// it says none.
func mediaType(r *http.Request) (string, *Problem) {
	header := r.Header.Get("Content-Type")
	if header == "" {
		return "", nil
	}
	media, params, err := mime.ParseMediaType(header)
	if err != nil {
		return "", problem(
			http.StatusUnsupportedMediaType, "Content-Type %q cannot be read: %v", header, err,
		)
	}
	if cs := params["charset"]; cs != "" && !strings.EqualFold(cs, "utf-8") &&
		!strings.EqualFold(cs, "us-ascii") {
		return "", problem(
			http.StatusUnsupportedMediaType, "charset %q is not understood: send UTF-8", cs,
		)
	}
	return media, nil
}
