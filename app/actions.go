package app

import (
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/schemas"
)

// Actions returns the table of actions that the configuration declares.
func Actions(config.Config) (*schemas.Actions, error) {
	return schemas.NewActions(schemas.DefaultRules())
}
