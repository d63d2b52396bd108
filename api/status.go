package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/slipstream-rec/slipstream/config"
)

// Status is how the pipeline is.
type Status struct {
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	// Engines are Kafka and the stores.
	Engines []EngineStatus `json:"engines" nullable:"false"`
	Groups  []GroupStatus  `json:"groups" nullable:"false"`
}

// EngineStatus tells whether an engine answers.
type EngineStatus struct {
	Name  string `json:"name"`
	Up    bool   `json:"up"`
	Error string `json:"error,omitempty" doc:"What it said, when it is not up."`
}

// GroupStatus is how far a consumer group is.
type GroupStatus struct {
	Group string `json:"group"`
	Lag   int64  `json:"lag" doc:"Events that it is behind, over all partitions."`
	// OpenDeadLetters counts those that wait for a person.
	OpenDeadLetters int               `json:"open_dead_letters"`
	Partitions      []PartitionStatus `json:"partitions" nullable:"false"`
}

// PartitionStatus is how far a group is on one partition.
type PartitionStatus struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Committed int64  `json:"committed" doc:"The group's offset; -1 when it has none."`
	End       int64  `json:"end" doc:"The offset that the next event will get."`
	Lag       int64  `json:"lag"`
}

const tagOperate = "Operation"

func (s *Server) status(doc huma.API) {
	huma.Register(doc, s.guarded(huma.Operation{
		OperationID: "status", Method: http.MethodGet, Path: "/v1/status",
		Tags:        []string{tagOperate},
		Summary:     "How the pipeline is",
		Description: "Engines, lag of every consumer group, and open dead letters.",
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
		}{private, st}, nil
	})
}
