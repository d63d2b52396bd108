package api

import (
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/slipstream-rec/slipstream/producers/gateway"
	"github.com/slipstream-rec/slipstream/schemas"
)

// idPattern is of ids: no event can carry one with control characters.
const idPattern = `^[^\x00-\x1f\x7f]*$`

// idSchema describes an id of at least so many characters.
func idSchema(atLeast int) *huma.Schema {
	atMost := schemas.MaxIDLength
	return &huma.Schema{
		Type: huma.TypeString, MinLength: &atLeast, MaxLength: &atMost,
		Pattern: idPattern, Description: "Up to 256 bytes of UTF-8.",
	}
}

// problemSchema is that of the gateway's errors. They carry the fields of an answer only when the
// events were read.
func problemSchema(o *huma.OpenAPI) *huma.Schema {
	registry := o.Components.Schemas
	reference := registry.Schema(reflect.TypeFor[gateway.Problem](), true, "Problem")
	registry.SchemaFromRef(reference.Ref).Required = []string{"type", "title", "status"}
	return reference
}

// describeFields adds the schema of a body that holds what the path does not say: the fields of the
// kind but for its ids. It returns whether there has to be one.
func describeFields(o *huma.OpenAPI, name string, kind schemas.Kind) (required bool) {
	kindSchema := o.Components.Schemas.Map()[string(kind)]
	fields := make(map[string]any, len(kindSchema.Extensions))
	for k, v := range kindSchema.Extensions {
		fields[k] = v
	}
	inPath := []string{"item_id", "user_id", "friend_id"}
	if properties, ok := fields["properties"].(map[string]any); ok {
		fields["properties"] = without(properties, inPath)
	}
	var needed []any
	if all, ok := fields["required"].([]any); ok {
		for _, x := range all {
			if field, _ := x.(string); !slices.Contains(inPath, field) {
				needed = append(needed, x)
			}
		}
	}
	delete(fields, "required")
	if len(needed) > 0 {
		fields["required"] = needed
	}
	if examples, ok := fields["examples"].([]any); ok {
		shown := make([]any, len(examples))
		for i, x := range examples {
			if example, ok := x.(map[string]any); ok {
				x = without(example, inPath)
			}
			shown[i] = x
		}
		fields["examples"] = shown
	}
	fields["title"] = name
	o.Components.Schemas.Map()[name] = &huma.Schema{Extensions: fields}
	return len(needed) > 0
}

func without(m map[string]any, names []string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		if !slices.Contains(names, k) {
			out[k] = v
		}
	}
	return out
}

// describeEvents adds what the body of POST /v1/events is and returns it: one event or several. An
// event is an interaction, or of another kind, which it says.
func describeEvents(o *huma.OpenAPI) *huma.Schema {
	all := o.Components.Schemas.Map()
	events := &huma.Schema{
		Description: "Without a kind, an interaction. The field kind selects another one. A " +
			"CloudEvent has its kind as type.",
	}
	kinds := make([]any, 0, len(schemas.WritableKinds()))
	for _, k := range schemas.WritableKinds() {
		kinds = append(kinds, string(k))
		name := string(k)
		if k != schemas.KindInteraction {
			title, _ := all[name].Extensions["title"].(string)
			name += ".event"
			all[name] = &huma.Schema{
				Title: title + ", with its kind",
				AllOf: []*huma.Schema{ref(string(k)), {
					Type: huma.TypeObject, Required: []string{"kind"},
					Properties: map[string]*huma.Schema{
						"kind": {Type: huma.TypeString, Enum: []any{string(k)}},
					},
				}},
			}
		}
		events.AnyOf = append(events.AnyOf, ref(name))
	}
	version := &huma.Schema{Type: huma.TypeString, Enum: []any{"1.0"}}
	all[cloudEventName] = &huma.Schema{
		Type: huma.TypeObject, Title: cloudEventName,
		Description: "A CloudEvent 1.0 in structured mode. type is the kind, data the event.",
		Required:    []string{"specversion", "id", "source", "type", "data"},
		Properties: map[string]*huma.Schema{
			"specversion": version,
			"id":          idSchema(1),
			"source":      idSchema(1),
			"type":        {Type: huma.TypeString, Enum: kinds},
			// By the JSON format of CloudEvents, null is an attribute that is not set.
			"time": {Type: huma.TypeString, Nullable: true, Format: "date-time"},
			"datacontenttype": {
				Type: huma.TypeString, Nullable: true,
				Pattern: "^" + regexp.QuoteMeta(schemas.ContentTypeJSON) + "$",
			},
			"data": {Type: huma.TypeObject, AdditionalProperties: true},
		},
	}
	events.AnyOf = append(events.AnyOf, ref(cloudEventName))
	// With names, since oapi-codegen makes nothing of a union that has none.
	all["Event"] = events
	all["Events"] = &huma.Schema{
		Description: "One event, or several.",
		AnyOf: []*huma.Schema{
			ref("Event"), {Type: huma.TypeArray, Items: ref("Event")},
		},
	}
	return ref("Events")
}

// describeCommon adds the answers that every operation may have: they come before its handler. It
// adds the pattern of ids, too.
func describeCommon(o *huma.OpenAPI) {
	problems := func(description string, schema *huma.Schema) *huma.Response {
		return &huma.Response{
			Description: description,
			Content:     map[string]*huma.MediaType{gateway.ContentTypeProblem: {Schema: schema}},
		}
	}
	common := map[int]*huma.Response{
		http.StatusBadRequest: problems(
			"The path or the query is not UTF-8, or the body cannot be read.", ref("ErrorModel"),
		),
		// Without its content, a line of plain text: else the error of each call of a generated
		// client would be a problem or a string.
		http.StatusRequestHeaderFieldsTooLarge: {
			Description: "The headers have more than 64 KiB.",
		},
	}
	ofBodies := map[int]*huma.Response{
		http.StatusRequestTimeout:        problems("The body came too slowly.", ref("ErrorModel")),
		http.StatusRequestEntityTooLarge: problems("Too large.", ref("ErrorModel")),
		http.StatusUnsupportedMediaType: problems(
			"The Content-Type is not supported.", ref("ErrorModel"),
		),
	}
	for _, path := range o.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Post, path.Put, path.Delete} {
			if op == nil {
				continue
			}
			for _, p := range op.Parameters {
				// The handlers of lists check ids themselves, to say what is wrong with them.
				if op.Tags[0] != tagList {
					continue
				}
				checked := *p.Schema
				switch {
				case p.In == "path" && checked.Pattern == "":
					checked.Pattern = idPattern
				case p.Name == "exclude":
					checked.Items = idSchema(1)
				case p.Name == "genre":
					atMost := schemas.MaxIDLength
					checked.Items = &huma.Schema{
						Type: huma.TypeString, MaxLength: &atMost,
						Description: "Up to 256 bytes of UTF-8.",
					}
				}
				p.Schema = &checked
			}
			add := func(responses map[int]*huma.Response) {
				for status, response := range responses {
					name := strconv.Itoa(status)
					if _, ok := op.Responses[name]; !ok {
						op.Responses[name] = response
					}
				}
			}
			if add(common); op.RequestBody != nil {
				add(ofBodies)
			}
		}
	}
}
