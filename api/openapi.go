package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/producers/gateway"
	"github.com/slipstream-rec/slipstream/schemas"
)

const (
	generalListName = "list"
	cloudEventName  = "CloudEvent"
	tagEvents       = "Events"
)

func ref(name string) *huma.Schema { return &huma.Schema{Ref: "#/components/schemas/" + name} }

// schemaName gives types of the same name different names.
func schemaName(t reflect.Type, hint string) string {
	if t == reflect.TypeFor[schemas.Problem]() {
		return "FieldProblem"
	}
	return huma.DefaultSchemaNamer(t, hint)
}

// describe adds the common parts of all operations to the document, and the JSON Schemas of events
// and lists from the repository.
func describe(o *huma.OpenAPI, actions *schemas.Actions) error {
	if actions == nil {
		actions = schemas.DefaultActions()
	}
	o.Info.Description = "Recommendations that reflect an event within a second. Errors are " +
		"application/problem+json (RFC 9457). HEAD is answered wherever GET is. " +
		"429 and 503 carry Retry-After: send the same request again after it. An event counts " +
		"once by its source and id. " +
		"The Kafka topics are in asyncapi.yaml."
	o.Info.License = nil
	o.Servers = []*huma.Server{{URL: "http://127.0.0.1:8080", Description: "slipstream dev"}}
	o.Tags = []*huma.Tag{
		{Name: tagList, Description: "Lists, made on request."},
		{
			Name: tagEvents,
			Description: "Interactions, items, users and friendships. An answer of 202 means " +
				"that the log has the event.",
		},
		{Name: tagOperate, Description: "State and dead letters."},
	}
	o.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {
			Type: "http", Scheme: "bearer",
			Description: "An API key with the role that the operation names. Not needed where " +
				"no keys are configured.",
		},
		"key": {Type: "apiKey", In: "header", Name: "X-API-Key", Description: "The same."},
	}
	for _, kind := range schemas.PublicKinds() {
		raw, ok := actions.JSONSchema(kind)
		if !ok {
			return fmt.Errorf("%s has no JSON Schema", kind)
		}
		s, err := inline(raw)
		if err != nil {
			return fmt.Errorf("JSON Schema of %s: %w", kind, err)
		}
		o.Components.Schemas.Map()[string(kind)] = s
		if kind == schemas.KindRecommendation {
			general, err := inline(raw)
			if err != nil {
				return err
			}
			general.Extensions["title"] = "General list"
			general.Extensions["description"] = "A list for nobody in particular: user_id is empty."
			if properties, ok := general.Extensions["properties"].(map[string]any); ok {
				properties["user_id"] = map[string]any{"type": "string", "const": ""}
			}
			o.Components.Schemas.Map()[generalListName] = general
		}
	}
	return nil
}

// inline returns a JSON Schema for the document, without the fields that give it its own address.
func inline(raw []byte) (*huma.Schema, error) {
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	delete(fields, "$schema")
	delete(fields, "$id")
	sayFormats(fields)
	return &huma.Schema{Extensions: fields}, nil
}

// sayFormats says as a pattern what our format of ids means, as far as a pattern can. It leaves out
// formats of ours beside another one and of objects, and what holds for one action only:
// oapi-codegen refuses the former and makes any value of the latter, and the descriptions say the
// same.
func sayFormats(schema map[string]any) {
	if schema["format"] == "slipstream-id" {
		schema["pattern"] = idPattern
	}
	if schema["type"] == "object" {
		delete(schema, "format")
	}
	if all, ok := schema["allOf"].([]any); ok {
		all = slices.DeleteFunc(all, func(x any) bool {
			part, ok := x.(map[string]any)
			return ok && (part["if"] != nil || len(part) == 1 && part["format"] != nil)
		})
		if schema["allOf"] = all; len(all) == 0 {
			delete(schema, "allOf")
		}
	}
	for _, x := range schema {
		if inner, ok := x.(map[string]any); ok {
			sayFormats(inner)
		}
	}
}

// describeGateway adds the handlers of the gateway to the document. They read bodies that the
// framework does not support.
func describeGateway(o *huma.OpenAPI) {
	problems := problemSchema(o)
	answer := o.Components.Schemas.Schema(reflect.TypeFor[gateway.Answer](), true, "Answer")
	taken := o.Components.Schemas.Schema(reflect.TypeFor[gateway.Taken](), true, "Taken")
	events := describeEvents(o)

	add := func(op *huma.Operation, good *huma.Schema) {
		op.Tags, op.Security = []string{tagEvents}, secured(config.RoleEmit)
		op.Responses = map[string]*huma.Response{strconv.Itoa(http.StatusAccepted): {
			Description: "The log has it, on all its replicas.",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: good}},
		}}
		if op.OperationID == "emit" {
			op.Responses[strconv.Itoa(http.StatusMultiStatus)] = &huma.Response{
				Description: "The log has some of the events. errors names the others.",
				Content:     map[string]*huma.MediaType{"application/json": {Schema: good}},
			}
		}
		for status, what := range map[int]string{
			http.StatusBadRequest: "Refused: the detail names the invalid field and the " +
				"problem.",
			http.StatusUnauthorized:          "No API key, or an unknown one.",
			http.StatusForbidden:             "The API key lacks the role emit.",
			http.StatusRequestEntityTooLarge: "Too large.",
			http.StatusUnsupportedMediaType: "The Content-Type or Content-Encoding is not " +
				"supported.",
			http.StatusTooManyRequests: "Too many requests in flight: see Retry-After.",
			http.StatusInternalServerError: "Something went wrong; the server's log says " +
				"what.",
			http.StatusServiceUnavailable: "The log does not answer: see Retry-After.",
		} {
			op.Responses[strconv.Itoa(status)] = &huma.Response{
				Description: what,
				Content: map[string]*huma.MediaType{
					gateway.ContentTypeProblem: {Schema: problems},
				},
			}
		}
		o.AddOperation(op)
	}

	add(&huma.Operation{
		OperationID: "emit", Method: http.MethodPost, Path: "/v1/events", Summary: "Emit events",
		Description: "One event, an array, NDJSON (one event per line), or CloudEvents: " +
			"structured, in a batch, or binary (ce- headers). Structured ones are taken as " +
			"application/json, too. gzip is supported. When some " +
			"events of a request are refused, the others are accepted, and errors names the " +
			"refused ones.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/json": {Schema: events},
			"application/x-ndjson": {Schema: &huma.Schema{
				Type: huma.TypeString, Description: "One event per line.",
			}},
			// Without a schema: what a generator for Python makes of a second one cannot be run.
			schemas.ContentTypeCloudEvent:      {},
			schemas.ContentTypeCloudEventBatch: {},
		}},
	}, answer)

	put := func(
		id, method, path, summary, description string,
		kind schemas.Kind, body string, names ...string,
	) {
		op := &huma.Operation{
			OperationID: id, Method: method, Path: path, Summary: summary, Description: description,
		}
		for _, name := range names {
			op.Parameters = append(
				op.Parameters,
				&huma.Param{Name: name, In: "path", Required: true, Schema: idSchema(1)},
			)
		}
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: "Idempotency-Key", In: "header", Schema: idSchema(0),
			Description: "The event's id. " + ofRepeats(kind),
		})
		if body != "" {
			op.RequestBody = &huma.RequestBody{
				Description: "The fields that are not in the path.",
				Required:    describeFields(o, body, kind),
				Content: map[string]*huma.MediaType{
					"application/json": {Schema: ref(body)},
				},
			}
		}
		add(op, taken)
	}
	put(
		"put-item", http.MethodPut, "/v1/items/{id}", "Add or change an item",
		"Replaces the whole item. It can be recommended within a second.",
		schemas.KindItemUpdated, "ItemFields", "id",
	)
	put(
		"withdraw-item", http.MethodDelete, "/v1/items/{id}", "Withdraw an item",
		"It is not recommended any more.", schemas.KindItemWithdrawn, "", "id",
	)
	put(
		"put-user", http.MethodPut, "/v1/users/{id}", "Add or change a user",
		"Attributes of the user. Users need not be announced: the first event is enough.",
		schemas.KindUserUpdated, "UserFields", "id",
	)
	put("erase-user", http.MethodDelete, "/v1/users/{id}", "Erase a user",
		"Deletes all data of the user up to now from every store, in order with their events. "+
			"Older events that arrive later are dropped.", schemas.KindUserErased, "", "id")
	put(
		"add-friend", http.MethodPut, "/v1/users/{id}/friends/{friend}", "Add a friendship",
		"Friendships have no direction.", schemas.KindFriendshipAdded, "FriendshipFields",
		"id", "friend",
	)
	put(
		"remove-friend", http.MethodDelete, "/v1/users/{id}/friends/{friend}",
		"Remove a friendship", "", schemas.KindFriendshipRemoved, "", "id", "friend",
	)
}

// ofRepeats says what a change of the kind does when it is sent again with its id.
func ofRepeats(kind schemas.Kind) string {
	states := []schemas.Kind{
		schemas.KindItemUpdated, schemas.KindItemWithdrawn, schemas.KindUserUpdated,
	}
	if slices.Contains(states, kind) {
		return "The change that the log took last counts, also one that is sent again: send it " +
			"again only while you have no newer one."
	}
	return "An event that is sent again with it counts once."
}
