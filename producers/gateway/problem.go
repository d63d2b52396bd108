package gateway

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"github.com/slipstream-rec/slipstream/schemas"
)

// ContentTypeProblem is the media type of errors (RFC 9457).
const ContentTypeProblem = "application/problem+json"

// Problem is the body of every answer that is not a success.
type Problem struct {
	// Type is "about:blank": Title and Status say it all.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what to do.
	Detail string `json:"detail,omitempty"`
	// Answer stands beside it when the events were read.
	*Answer
}

func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

// Answer says what became of the events of a request.
type Answer struct {
	Accepted int `json:"accepted"`
	Refused  int `json:"refused"`
	// IDs are the ids of the events, by index, also of those that were not accepted but could be
	// read: send those again with their ids, and they count once.
	IDs []string `json:"ids"`
	// Errors lists the events that were not accepted, in order.
	Errors []EventProblem `json:"errors,omitempty"`
}

// EventProblem says why an event was not accepted.
type EventProblem struct {
	// Index is the event's place in the request, from 0.
	Index int    `json:"index"`
	ID    string `json:"id,omitempty"`
	// Status is as if the event had come alone: 400 or 413 for an event that must be changed, 503
	// for one to send again.
	Status int    `json:"status"`
	Reason string `json:"reason"`
	// Fields are the fields that are wrong, when it is fields.
	Fields []schemas.Problem `json:"fields,omitempty"`
}

func problem(status int, format string, args ...any) *Problem {
	return &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Detail: fmt.Sprintf(format, args...),
	}
}

func busy(what string) *Problem {
	return problem(
		http.StatusTooManyRequests, "%s: wait as long as Retry-After says, then send again", what,
	)
}

func (g *Gateway) fail(w http.ResponseWriter, r *http.Request, p *Problem) {
	if p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(g.cfg.RetryAfter.Seconds()))))
	}
	g.answer(w, r, p.Status, ContentTypeProblem, p)
}

func (g *Gateway) answer(
	w http.ResponseWriter,
	_ *http.Request,
	status int,
	contentType string,
	body any,
) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	// The client may be gone; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(body)
}
