package api

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// DeadLetters are the records that a group could not process. *deadletter.Store implements it.
type DeadLetters interface {
	// List returns those that match, newest first.
	List(ctx context.Context, f deadletter.Filter) ([]deadletter.Letter, error)
	// Get returns one, or an error that is deadletter.ErrNotFound. The beginning of an id is
	// enough.
	Get(ctx context.Context, id string) (deadletter.Letter, error)
	// Replay sends those that match to their group again. It returns how many it has sent, also
	// beside an error.
	Replay(ctx context.Context, f deadletter.Filter, o deadletter.ReplayOptions) (int, error)
	// Drop marks those that match as not to be replayed, and returns how many.
	Drop(ctx context.Context, f deadletter.Filter, reason string) (int, error)
}

// DeadLetterPlans tell what would be done to dead letters. *deadletter.Store implements it.
type DeadLetterPlans interface {
	// PlanReplay tells what a replay with the correction would do.
	PlanReplay(
		ctx context.Context, f deadletter.Filter, c deadletter.Correction,
	) (deadletter.Plan, error)
	// PlanDrop tells what a drop would do.
	PlanDrop(ctx context.Context, f deadletter.Filter) (deadletter.Plan, error)
}

// Letter is a dead letter as it is shown.
type Letter struct {
	ID             string    `json:"id"`
	Group          string    `json:"group" doc:"The consumer group that could not process it."`
	Topic          string    `json:"topic"`
	Partition      int       `json:"partition"`
	Offset         int64     `json:"offset"`
	LastOffset     *int64    `json:"last_offset,omitempty" doc:"Of a whole batch whose records cannot be read: its last offset. It cannot be replayed."`
	RecordedAt     time.Time `json:"recorded_at" doc:"When the log accepted the record."`
	Key            string    `json:"key" doc:"The record's key; hexadecimal after 0x when it is not text."`
	Class          string    `json:"class" doc:"permanent: the event is invalid; unknown: all attempts failed."`
	Reason         string    `json:"reason"`
	Attempts       int       `json:"attempts"`
	FirstFailureAt time.Time `json:"first_failure_at"`
	LastFailureAt  time.Time `json:"last_failure_at"`
	WrittenAt      time.Time `json:"set_aside_at"`
	State          string    `json:"state" enum:"open,replayed,dropped"`
	ResolvedAt     time.Time `json:"resolved_at,omitzero"`
	Resolution     string    `json:"resolution,omitempty" doc:"The reason given when it was replayed or dropped."`
}

// wholeLetter is a dead letter with the headers and value of the record.
type wholeLetter struct {
	Letter
	Headers []shownHeader `json:"headers" nullable:"false"`
	Value   any           `json:"value,omitempty" doc:"The record's value, when it is JSON."`
	Hex     string        `json:"value_hex,omitempty" doc:"The record's value in hexadecimal, when it is not JSON."`

	Original      any    `json:"original_value,omitempty" doc:"The value that failed first, where a corrected one has failed since."`
	OriginalHex   string `json:"original_value_hex,omitempty" doc:"The same in hexadecimal, when it is not JSON."`
	Correction    any    `json:"correction,omitempty" doc:"The value that replays send in place of the dead letter's."`
	CorrectionHex string `json:"correction_hex,omitempty" doc:"The same in hexadecimal, when it is not JSON."`
}

type shownHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func show(l *deadletter.Letter) Letter {
	var last *int64
	if l.Undecodable {
		last = &l.LastOffset
	}
	return Letter{
		ID: l.ID, Group: l.Group, Topic: l.Origin.Topic, Partition: l.Origin.Partition,
		Offset: l.Origin.Offset, LastOffset: last, RecordedAt: l.Time,
		Key:   record.Readable(l.Key),
		Class: l.Class.String(), Reason: l.Reason, Attempts: l.Attempts,
		FirstFailureAt: l.FirstFailure, LastFailureAt: l.LastFailure,
		WrittenAt: l.WrittenAt, State: string(l.State), ResolvedAt: l.ResolvedAt,
		Resolution: l.Resolution,
	}
}

func showWhole(l *deadletter.Letter) wholeLetter {
	w := wholeLetter{Letter: show(l), Headers: make([]shownHeader, len(l.Headers))}
	for i, h := range l.Headers {
		w.Headers[i] = shownHeader{h.Key, record.Readable(h.Value)}
	}
	w.Value, w.Hex = shownValue(l.Value)
	if l.Original != nil {
		w.Original, w.OriginalHex = shownValue(l.Original)
	}
	if l.Correction != nil {
		w.Correction, w.CorrectionHex = shownValue(l.Correction)
	}
	return w
}

// shownValue returns a value as JSON, or in hexadecimal.
func shownValue(value []byte) (any, string) {
	if record.IsJSON(value) {
		return json.RawMessage(value), ""
	}
	return nil, hex.EncodeToString(value)
}

type listInput struct {
	Group  string    `query:"group" doc:"Only of this consumer group."`
	Class  string    `query:"class" enum:"permanent,unknown,transient" doc:"Only of this class of failure."`
	Topic  string    `query:"topic" doc:"Only from this topic."`
	Reason string    `query:"reason" doc:"Only with these words side by side in the reason, as they stand there, each of them whole. Case does not matter."`
	Since  time.Time `query:"since" doc:"Only written at this time or later."`
	Until  time.Time `query:"until" doc:"Only written before this time."`
	State  string    `query:"state" enum:"open,replayed,dropped" doc:"Only in this state."`
	Limit  int       `query:"limit" minimum:"1" maximum:"10000" default:"100" doc:"Maximum number, newest first."`
	After  string    `query:"after" maxLength:"256" doc:"next_after of the page before. Without it the first page."`
}

// Resolve refuses a time that is empty: huma takes it for one that is not given, and a script whose
// variable is empty would list everything.
func (*listInput) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	for _, name := range []string{"since", "until"} {
		if v, ok := u.Query()[name]; ok && v[0] == "" {
			return []error{&huma.ErrorDetail{
				Location: "query." + name, Message: "is empty, want an RFC 3339 time",
			}}
		}
	}
	return nil
}

type listOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		DeadLetters []Letter `json:"dead_letters" nullable:"false"`
		NextAfter   string   `json:"next_after,omitempty" doc:"The parameter after of the next page. Absent: this is the last."`
	}
}

type letterOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         wholeLetter
}

// Choice selects dead letters in the body of a request to replay or drop.
type Choice struct {
	IDs    []string  `json:"ids,omitempty" nullable:"false" maxItems:"10000" doc:"Those with these ids, or with ids that begin so, if no other does. Without ids, the open ones are chosen. Those with ids may have been replayed or dropped before; one that was replayed cannot be dropped."`
	Group  string    `json:"group,omitempty" doc:"Those of this consumer group."`
	Class  string    `json:"class,omitempty" enum:"permanent,unknown,transient" doc:"Those of this class of failure."`
	Topic  string    `json:"topic,omitempty" doc:"Those from this topic."`
	Reason string    `json:"reason,omitempty" doc:"Those with these words side by side in the reason, as they stand there, each of them whole. Case does not matter."`
	Since  time.Time `json:"since,omitzero" required:"false" doc:"Those written at this time or later."`
	Until  time.Time `json:"until,omitzero" required:"false" doc:"Those written before this time."`
	All    bool      `json:"all,omitempty" doc:"All open ones: required when nothing else is selected."`
	Note   string    `json:"note,omitempty" maxLength:"1000" doc:"The reason, which is kept."`
	DryRun bool      `json:"dry_run,omitempty" doc:"Only tell what would be done."`
}

func (c *Choice) filter() (deadletter.Filter, error) {
	f := deadletter.Filter{
		IDs: c.IDs, Group: c.Group, Class: c.Class, Topic: c.Topic, Reason: c.Reason,
		Since: c.Since, Until: c.Until,
	}
	if !f.Restricts() && !c.All {
		return f, huma.Error422UnprocessableEntity(
			`choose by ids, group, class, topic, reason, since or until, or say "all": true`,
		)
	}
	return f, nil
}

type replayInput struct {
	Body struct {
		Choice
		Rate  float64   `json:"rate,omitempty" minimum:"0" doc:"Maximum dead letters per second; 0: no limit. The answer comes when all are sent."`
		Value jsonValue `json:"value,omitzero" required:"false" doc:"The corrected value, in place of the value of the one dead letter that is chosen."`
		Patch jsonPatch `json:"patch,omitzero" required:"false" doc:"A JSON merge patch (RFC 7396) for the value of each dead letter that is chosen."`
	}
}

type dropInput struct {
	Body Choice
}

type countOutput struct {
	Body struct {
		Count int `json:"count" doc:"Number of dead letters."`
		*Plan
	}
}

func (s *Server) deadLetters(doc huma.API) {
	huma.Register(doc, s.guarded(huma.Operation{
		OperationID: "list-dead-letters", Method: http.MethodGet, Path: "/v1/poison",
		Tags:        []string{tagOperate},
		Summary:     "Dead letters",
		Description: "Records that could not be processed, newest first, in pages.",
	}, config.RoleOperate), s.listDeadLetters)
	huma.Register(doc, s.guarded(huma.Operation{
		OperationID: "show-dead-letter", Method: http.MethodGet, Path: "/v1/poison/{id}",
		Tags:    []string{tagOperate},
		Summary: "One dead letter", Description: "With the record's headers and value.",
		Errors: []int{http.StatusNotFound},
	}, config.RoleOperate), s.showDeadLetter)
	huma.Register(doc, s.guarded(huma.Operation{
		OperationID: "replay-dead-letters", Method: http.MethodPost, Path: "/v1/poison/replay",
		Tags:    []string{tagOperate},
		Summary: "Replay dead letters",
		Description: "Sends the dead letters that match to their group again. Replaying " +
			"one twice counts once. One that fails again becomes open again. With a value or a " +
			"patch they are corrected: each is decoded as its group does first, and if one " +
			"cannot be, none is sent. The corrected event has the identity of the original, so " +
			"that one of them counts.",
		Errors:      []int{http.StatusNotFound},
		Middlewares: huma.Middlewares{patient},
	}, config.RoleOperate), s.replayDeadLetters)
	huma.Register(doc, s.guarded(huma.Operation{
		OperationID: "drop-dead-letters", Method: http.MethodPost, Path: "/v1/poison/drop",
		Tags:    []string{tagOperate},
		Summary: "Drop dead letters",
		Description: "Marks the open dead letters that match as dropped. They stay on the log " +
			"until its retention deletes them, and can be replayed by their ids until then. One " +
			"that was replayed is refused, since its event counts.",
		Errors: []int{http.StatusNotFound},
	}, config.RoleOperate), s.dropDeadLetters)
}

// patient removes the write timeout of an answer that may take long on purpose.
func patient(ctx huma.Context, next func(huma.Context)) {
	_, w := humachi.Unwrap(ctx)
	// Not every writer supports it. Then the timeout stays.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	next(ctx)
}

func (s *Server) listDeadLetters(ctx context.Context, in *listInput) (*listOutput, error) {
	found, err := s.deps.DeadLetters.List(ctx, deadletter.Filter{
		Group: in.Group, Class: in.Class, Topic: in.Topic, Reason: in.Reason, Since: in.Since,
		Until: in.Until, State: deadletter.State(in.State), Limit: in.Limit + 1, After: in.After,
		WithoutValues: true,
	})
	if err != nil {
		return nil, s.failLetters(ctx, "list dead letters", err)
	}
	out := &listOutput{CacheControl: cachePrivate}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Body.NextAfter = deadletter.PageEnd(&found[in.Limit-1])
	}
	out.Body.DeadLetters = make([]Letter, len(found))
	for i := range found {
		out.Body.DeadLetters[i] = show(&found[i])
	}
	return out, nil
}

// failLetters is fail for a request that may be wrong: its filter, or what is to be done.
func (s *Server) failLetters(ctx context.Context, doing string, err error) error {
	switch {
	case errors.Is(err, deadletter.ErrNotFound):
		return huma.Error404NotFound(err.Error() + ": GET /v1/poison lists them")
	case errors.Is(err, deadletter.ErrFilter), fault.ClassOf(err) == fault.Permanent:
		return huma.Error422UnprocessableEntity(err.Error())
	}
	return s.fail(ctx, doing, err)
}

func (s *Server) showDeadLetter(ctx context.Context, in *struct {
	ID string `path:"id" minLength:"4" maxLength:"256" doc:"The id, or its beginning if no other id begins so."`
},
) (*letterOutput, error) {
	l, err := s.deps.DeadLetters.Get(ctx, in.ID)
	if err != nil {
		return nil, s.failLetters(ctx, "show a dead letter", err)
	}
	return &letterOutput{CacheControl: cachePrivate, Body: showWhole(&l)}, nil
}

func (s *Server) replayDeadLetters(ctx context.Context, in *replayInput) (*countOutput, error) {
	f, err := in.Body.filter()
	if err != nil {
		return nil, err
	}
	o := deadletter.ReplayOptions{
		Rate: in.Body.Rate, Reason: in.Body.Note,
		Correction: deadletter.Correction{Value: in.Body.Value.raw, Patch: in.Body.Patch.raw},
	}
	out := &countOutput{}
	if in.Body.DryRun {
		plan, err := s.deps.Plans.PlanReplay(ctx, f, o.Correction)
		if err != nil {
			return nil, s.failLetters(ctx, "plan a replay of dead letters", err)
		}
		out.Body.Count, out.Body.Plan = plan.Count, showPlan(&plan)
		return out, nil
	}
	if out.Body.Count, err = s.deps.DeadLetters.Replay(detached(ctx), f, o); err != nil {
		if out.Body.Count > 0 {
			s.log.Warn("dead letters were replayed in part", "replayed", out.Body.Count)
		}
		return nil, s.failLetters(ctx, "replay dead letters", err)
	}
	return out, nil
}

func (s *Server) dropDeadLetters(ctx context.Context, in *dropInput) (*countOutput, error) {
	f, err := in.Body.filter()
	if err != nil {
		return nil, err
	}
	out := &countOutput{}
	if in.Body.DryRun {
		plan, err := s.deps.Plans.PlanDrop(ctx, f)
		if err != nil {
			return nil, s.failLetters(ctx, "plan a drop of dead letters", err)
		}
		out.Body.Count, out.Body.Plan = plan.Count, showPlan(&plan)
		return out, nil
	}
	if out.Body.Count, err = s.deps.DeadLetters.Drop(ctx, f, in.Body.Note); err != nil {
		return nil, s.failLetters(ctx, "drop dead letters", err)
	}
	return out, nil
}
