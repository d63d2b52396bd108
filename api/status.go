package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/slipstream-rec/slipstream/config"
)

// Status is the state of the pipeline.
type Status struct {
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	// Engines are Kafka and the stores.
	Engines []EngineStatus `json:"engines" nullable:"false"`
	Groups  []GroupStatus  `json:"groups" nullable:"false"`
	Items   ItemStatus     `json:"items"`
}

// ItemStatus counts the items that can be recommended, as catalog has noted last.
type ItemStatus struct {
	Items        int `json:"items" doc:"Items that can be recommended."`
	WithoutEntry int `json:"without_entry" doc:"How many of them have no catalog entry: only events name them. With recommend.catalog_only they are left out of lists."`
}

// EngineStatus tells whether an engine answers.
type EngineStatus struct {
	Name  string `json:"name"`
	Up    bool   `json:"up"`
	Error string `json:"error,omitempty" doc:"Its error when it is not up."`
	// Outage is the last one; nil if there was none.
	Outage *Outage `json:"outage,omitempty"`
}

// Outage is a time in which an engine did not answer.
type Outage struct {
	Since time.Time `json:"since"`
	// Until is nil while it is away.
	Until *time.Time `json:"until,omitempty" doc:"When it answered again; absent while it is away."`
	// ChangesBehind is nil where it is not known.
	ChangesBehind *int64 `json:"changes_behind,omitempty" doc:"How many events its consumer groups had not processed when it answered again."`
}

// GroupStatus is the progress of a consumer group.
type GroupStatus struct {
	Group string `json:"group"`
	Lag   int64  `json:"lag" doc:"Events that are not processed yet, over all partitions."`
	// OpenDeadLetters counts the dead letters that are neither replayed nor dropped.
	OpenDeadLetters int               `json:"open_dead_letters"`
	Partitions      []PartitionStatus `json:"partitions" nullable:"false"`
}

// PartitionStatus is the progress of a group on one partition.
type PartitionStatus struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Committed int64  `json:"committed" doc:"The committed offset; -1 when there is none."`
	End       int64  `json:"end" doc:"The offset after the last event that can be read."`
	Lag       int64  `json:"lag"`
	// Undecided is 0 while no transaction is open.
	Undecided int64 `json:"undecided,omitempty" doc:"Offsets behind the beginning of an open transaction of another program. They wait until it ends."`
}

const tagOperate = "Operation"

func (s *Server) status(doc huma.API) {
	huma.Register(doc, s.guarded(huma.Operation{
		OperationID: "status", Method: http.MethodGet, Path: "/v1/status",
		Tags:    []string{tagOperate},
		Summary: "State of the pipeline",
		Description: "Engines and their last outage, lag of every consumer group, and open " +
			"dead letters.",
	}, config.RoleOperate), func(ctx context.Context, _ *struct{}) (*struct {
		CacheControl string `header:"Cache-Control"`
		Body         Status
	}, error,
	) {
		st, err := s.deps.Status(ctx)
		if err != nil {
			return nil, s.fail(ctx, "read the status", err)
		}
		return &struct {
			CacheControl string `header:"Cache-Control"`
			Body         Status
		}{cachePrivate, st}, nil
	})
}
