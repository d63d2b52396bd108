package gateway

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/slipstream-rec/slipstream/schemas"
)

// Taken is the answer to a change of one item, user or friendship.
type Taken struct {
	// ID is the event's id.
	ID    string       `json:"id"`
	Kind  schemas.Kind `json:"kind"`
	Topic string       `json:"topic"`
	// Follow is the command that shows where the event is and which stores are past it.
	Follow string `json:"follow"`
}

func (g *Gateway) putItem(w http.ResponseWriter, r *http.Request) {
	g.change(w, r, schemas.KindItemUpdated, []string{"item_id"})
}

func (g *Gateway) deleteItem(w http.ResponseWriter, r *http.Request) {
	g.change(w, r, schemas.KindItemWithdrawn, []string{"item_id"})
}

func (g *Gateway) putUser(w http.ResponseWriter, r *http.Request) {
	g.change(w, r, schemas.KindUserUpdated, []string{"user_id"})
}

func (g *Gateway) deleteUser(w http.ResponseWriter, r *http.Request) {
	g.change(w, r, schemas.KindUserErased, []string{"user_id"})
}

func (g *Gateway) putFriend(w http.ResponseWriter, r *http.Request) {
	g.change(w, r, schemas.KindFriendshipAdded, []string{"friend_id", "", "user_id"})
}

func (g *Gateway) deleteFriend(w http.ResponseWriter, r *http.Request) {
	g.change(w, r, schemas.KindFriendshipRemoved, []string{"friend_id", "", "user_id"})
}

// change writes one event about what the path names: its last segment is the field names[0], and so
// on towards the front; "" is no field. The body, which may be empty, holds the other fields; the
// header Idempotency-Key is the event's id.
func (g *Gateway) change(
	w http.ResponseWriter,
	r *http.Request,
	kind schemas.Kind,
	names []string,
) {
	path, p := pathFields(r, names)
	if p != nil {
		g.fail(w, r, p)
		return
	}
	media, p := mediaType(r)
	if p == nil && media != "" && media != schemas.ContentTypeJSON && r.ContentLength != 0 {
		p = problem(
			http.StatusUnsupportedMediaType,
			"Content-Type %q is not understood: want application/json", media,
		)
	}
	if p != nil {
		g.fail(w, r, p)
		return
	}
	body, release, p := g.body(w, r)
	if p != nil {
		g.fail(w, r, p)
		return
	}
	defer release()
	value, p := withPath(body, path)
	if p != nil {
		g.fail(w, r, p)
		return
	}
	event, err := g.validator.Read(
		schemas.Envelope{Kind: kind, ID: r.Header.Get("Idempotency-Key")}, value,
	)
	events := []received{g.accept(event, r.Header.Get(schemas.HeaderTrace), err)}
	g.emit(r.Context(), events)
	g.report(events)
	if a := answerOf(events); len(a.Errors) > 0 {
		g.fail(w, r, refusedAll(a))
		return
	}
	x := events[0]
	g.answer(
		w, r, http.StatusAccepted, schemas.ContentTypeJSON,
		Taken{ID: x.id, Kind: x.kind, Topic: x.message.Topic, Follow: "slipstream trace " + x.id},
	)
}

// withPath puts what the path says into the body.
func withPath(body []byte, path map[string]string) ([]byte, *Problem) {
	fields := map[string]json.RawMessage{}
	if err := schemas.CheckJSONText(body); err != nil {
		return nil, problem(http.StatusBadRequest, "the body %v", err)
	}
	if len(bytes.TrimSpace(body)) > 0 {
		if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
			return nil, problem(http.StatusBadRequest, "the body is not a JSON object: %v", err)
		}
	}
	for name, v := range path {
		var said *string
		if raw, ok := fields[name]; ok &&
			(json.Unmarshal(raw, &said) != nil || said == nil || *said != v) {
			return nil, problem(
				http.StatusBadRequest, "%q in the body is %.64s, but the path says %q", name, raw,
				v,
			)
		}
		quoted, err := json.Marshal(v)
		if err != nil {
			return nil, problem(http.StatusBadRequest, "%q in the path cannot be read", name)
		}
		fields[name] = quoted
	}
	value, err := json.Marshal(fields)
	if err != nil {
		return nil, problem(http.StatusBadRequest, "the body cannot be read: %v", err)
	}
	return value, nil
}

// pathFields returns the segments of the path by the names of their fields, the last segment first.
// Routers differ in whether their values are unescaped; the path itself does not.
func pathFields(r *http.Request, names []string) (map[string]string, *Problem) {
	segments := strings.Split(r.URL.EscapedPath(), "/")
	fields := map[string]string{}
	for i, name := range names {
		if name == "" || i >= len(segments) {
			continue
		}
		v, err := url.PathUnescape(segments[len(segments)-1-i])
		if err == nil {
			err = schemas.CheckUTF8(v)
		}
		if err != nil {
			return nil, problem(http.StatusBadRequest, "%q in the path %v", name, err)
		}
		fields[name] = v
	}
	return fields, nil
}
