package main

import (
	"context"
	"sync"

	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/schemas"
)

// currentLists follows the compacted topic of current lists, as a service that consumes recommendations would.
type currentLists struct {
	mu    sync.RWMutex
	lists map[string]*schemas.Recommendation
	// personal is a user who has a personal list.
	personal string
}

var _ producers.Lists = (*currentLists)(nil)

func newCurrentLists() *currentLists {
	return &currentLists{lists: make(map[string]*schemas.Recommendation)}
}

// apply takes in one record.
func (c *currentLists) apply(r *schemas.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	user := string(r.Key)
	if len(r.Value) == 0 {
		delete(c.lists, user)
		if c.personal == user {
			c.personal = ""
		}
		return nil
	}
	list, err := schemas.DecodeRecommendation(r)
	if err != nil {
		return nil // what others write there must not end the simulation
	}
	if old := c.lists[user]; old != nil && old.Version > list.Version {
		return nil
	}
	c.lists[user] = &list
	if c.personal == "" && list.Strategy == schemas.StrategyPersonal && len(list.Items) > 0 {
		c.personal = user
	}
	return nil
}

// Latest implements producers.Lists.
func (c *currentLists) Latest(_ context.Context, userID string) (*schemas.Recommendation, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.lists[userID], nil
}

// someone returns a user who has a personal list, "" when nobody has.
func (c *currentLists) someone() string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.personal
}
