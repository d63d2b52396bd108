package schemas

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// AsyncAPI returns the AsyncAPI 3.0 document, as YAML, of the topics that applications write and
// read. prefix is the configured prefix of topics, actions the table that applies. The operations
// are Slipstream's: what it receives, applications send.
func AsyncAPI(topics []Topic, prefix string, actions *Actions) ([]byte, error) {
	doc := asyncDocument{
		AsyncAPI: "3.0.0",
		Info: asyncInfo{
			Title: "Slipstream", Version: "1.0.0",
			Description: "Events are CloudEvents 1.0 in Kafka's binary mode: attributes are " +
				"headers (ce_id, ce_source, ce_type, ce_time), the value is JSON. " +
				"What applications write may also be in structured mode (content-type " +
				"application/cloudevents+json): then the value holds the attributes, and the " +
				"event as data. " +
				"A plain JSON value without headers is taken too; its field \"kind\" says " +
				"which message it is, and without one it is the topic's first. " +
				"Sending an event again with the same ce_id and ce_source counts once; of an " +
				"item and of a user's attributes, the record that the log took last counts. " +
				"A null value is a tombstone: on items it withdraws the item; on " +
				"recommendations.current it says that the user has no list any more. " +
				"Readers must ignore fields and ce_types that they do not know.",
		},
		DefaultContentType: ContentTypeJSON,
		Servers: map[string]asyncServer{"kafka": {
			Host: "{broker}", Protocol: "kafka",
			Description: "Any broker of the cluster; \"slipstream dev\" brings its own.",
			Variables: map[string]asyncVariable{
				"broker": {
					Default: "127.0.0.1:9092", Description: "host:port, as in KAFKA_BROKERS.",
				},
			},
		}},
		Channels: map[string]asyncChannel{}, Operations: map[string]asyncOperation{},
		Components: asyncComponents{
			Messages: map[string]asyncMessage{}, Schemas: map[string]any{},
		},
	}
	for _, t := range topics {
		if t.In || t.Out {
			if err := doc.add(t, prefix, actions); err != nil {
				return nil, err
			}
		}
	}
	var b bytes.Buffer
	b.WriteString(
		"# Generated from schemas.Topics and schemas/jsonschema: go test ./schemas -update\n",
	)
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(doc); err != nil {
		return nil, fmt.Errorf("write the AsyncAPI document: %w", err)
	}
	return b.Bytes(), e.Close()
}

func (d *asyncDocument) add(t Topic, prefix string, actions *Actions) error {
	c := asyncChannel{
		Address: prefix + t.Name, Description: t.Description, Messages: map[string]asyncRef{},
	}
	c.Bindings.Kafka = asyncTopic{
		Topic: prefix + t.Name, Partitions: t.Partitions, BindingVersion: "0.5.0",
	}
	c.Bindings.Kafka.Configuration.CleanupPolicy = []string{"delete"}
	if t.Compact {
		c.Bindings.Kafka.Configuration.CleanupPolicy = []string{"compact"}
	} else {
		retention := int64(-1)
		if t.Retention > 0 {
			retention = t.Retention.Milliseconds()
		}
		c.Bindings.Kafka.Configuration.RetentionMS = &retention
	}
	channel := strings.ReplaceAll(t.Name, ".", "-")
	o := asyncOperation{Action: "receive", Channel: asyncRef{"#/channels/" + channel}}
	name := "receive-" + channel
	if t.Out {
		o.Action, name = "send", "send-"+channel
	}
	for _, k := range t.Kinds {
		if !slices.Contains(PublicKinds(), k) {
			continue
		}
		m, err := d.messageOf(k, t, actions)
		if err != nil {
			return err
		}
		message := channel + "." + string(k)
		d.Components.Messages[message] = m
		c.Messages[string(k)] = asyncRef{"#/components/messages/" + message}
		o.Messages = append(
			o.Messages, asyncRef{"#/channels/" + channel + "/messages/" + string(k)},
		)
	}
	d.Channels[channel], d.Operations[name] = c, o
	return nil
}

// messageOf returns the message of a kind on a topic. Its schemas have names, so that generators
// have names for the types.
func (d *asyncDocument) messageOf(k Kind, t Topic, actions *Actions) (asyncMessage, error) {
	raw, _ := actions.JSONSchema(k)
	var head struct{ Title, Description string }
	if err := json.Unmarshal(raw, &head); err != nil {
		return asyncMessage{}, fmt.Errorf("read the JSON Schema of %s: %w", k, err)
	}
	name := typeName(head.Title)
	if _, ok := d.Components.Schemas[name]; !ok {
		payload, err := payloadOf(k, raw)
		if err != nil {
			return asyncMessage{}, err
		}
		d.nameParts(name, payload)
		d.Components.Schemas[name] = payload
		d.Components.Schemas[name+"Headers"] = headersOf(k, head.Title)
	}
	m := asyncMessage{
		Name: string(k), Title: head.Title, Summary: head.Description, ContentType: ContentTypeJSON,
		Headers: asyncRef{asyncSchemas + name + "Headers"},
		Payload: asyncRef{asyncSchemas + name},
	}
	m.Bindings.Kafka.BindingVersion = "0.5.0"
	m.Bindings.Kafka.Key = describedText("The record's key: " + t.Key + ".")
	return m, nil
}

// typeName makes the name of a type of a title or of a field: "Item updated" is ItemUpdated, and
// caused_by is CausedBy.
func typeName(title string) string {
	var b strings.Builder
	for word := range strings.FieldsSeq(strings.ReplaceAll(title, "_", " ")) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// payloadOf returns the JSON Schema of a kind. It uses nothing that is not in draft 07, so it is a
// schema of AsyncAPI as it is: below a schemaFormat, tools see no name. What holds for one action
// only is left to the descriptions, since generators take the fields of a condition for fields.
func payloadOf(k Kind, raw []byte) (*yaml.Node, error) {
	var schema yaml.Node
	// JSON is YAML, and a node keeps the order of the fields.
	if err := yaml.Unmarshal(raw, &schema); err != nil {
		return nil, fmt.Errorf("read the JSON Schema of %s: %w", k, err)
	}
	root := schema.Content[0]
	plainStyle(root)
	for i := 0; i < len(root.Content); {
		name, value := root.Content[i].Value, root.Content[i+1]
		if name == "allOf" {
			value.Content = slices.DeleteFunc(value.Content, func(part *yaml.Node) bool {
				return child(part, "if") != nil
			})
		}
		if name == "$schema" || name == "$id" || name == "allOf" && len(value.Content) == 0 {
			root.Content = slices.Delete(root.Content, i, i+2)
			continue
		}
		i += 2
	}
	return root, nil
}

// nameParts moves the objects and enumerations within a schema to the components, named by their
// fields: else their types would be anonymous.
func (d *asyncDocument) nameParts(name string, schema *yaml.Node) {
	move := func(to string, part *yaml.Node) {
		d.nameParts(to, part)
		if child(part, "properties") == nil && child(part, "enum") == nil {
			return
		}
		moved := *part
		d.Components.Schemas[to] = &moved
		_ = part.Encode(asyncRef{asyncSchemas + to}) // a string can be encoded
	}
	if fields := child(schema, "properties"); fields != nil {
		for i := 0; i < len(fields.Content); i += 2 {
			move(name+typeName(fields.Content[i].Value), fields.Content[i+1])
		}
	}
	if items := child(schema, "items"); items != nil {
		move(strings.TrimSuffix(name, "s"), items)
	}
}

// child returns the value of a field of a mapping, or nil.
func child(n *yaml.Node, name string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

func describedText(description string) map[string]any {
	return map[string]any{"type": "string", "description": description}
}

func headersOf(k Kind, title string) map[string]any {
	return map[string]any{
		"type": "object", "title": title + ", headers", "properties": map[string]any{
			HeaderSpecVersion: map[string]any{"type": "string", "const": "1.0"},
			HeaderID:          describedText("Identifies the event, together with ce_source."),
			HeaderSource:      describedText("Who says so."),
			HeaderType:        map[string]any{"type": "string", "const": string(k)},
			HeaderTime: map[string]any{
				"type": "string", "format": "date-time", "description": "When it happened.",
			},
			HeaderTrace: describedText("A W3C trace context."),
		},
	}
}

// plainStyle writes what was JSON as YAML.
func plainStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plainStyle(c)
	}
}

// asyncSchemas is before the name of a schema in a reference.
const asyncSchemas = "#/components/schemas/"

// The parts of an AsyncAPI 3.0 document that we use.
type (
	asyncDocument struct {
		AsyncAPI           string                    `yaml:"asyncapi"`
		Info               asyncInfo                 `yaml:"info"`
		DefaultContentType string                    `yaml:"defaultContentType"`
		Servers            map[string]asyncServer    `yaml:"servers"`
		Channels           map[string]asyncChannel   `yaml:"channels"`
		Operations         map[string]asyncOperation `yaml:"operations"`
		Components         asyncComponents           `yaml:"components"`
	}
	asyncInfo struct {
		Title       string `yaml:"title"`
		Version     string `yaml:"version"`
		Description string `yaml:"description"`
	}
	asyncServer struct {
		Host        string                   `yaml:"host"`
		Protocol    string                   `yaml:"protocol"`
		Description string                   `yaml:"description"`
		Variables   map[string]asyncVariable `yaml:"variables"`
	}
	asyncVariable struct {
		Default     string `yaml:"default"`
		Description string `yaml:"description"`
	}
	asyncRef struct {
		Ref string `yaml:"$ref"`
	}
	asyncChannel struct {
		Address     string              `yaml:"address"`
		Description string              `yaml:"description"`
		Messages    map[string]asyncRef `yaml:"messages"`
		Bindings    struct {
			Kafka asyncTopic `yaml:"kafka"`
		} `yaml:"bindings"`
	}
	asyncTopic struct {
		Topic         string `yaml:"topic"`
		Partitions    int    `yaml:"partitions"`
		Configuration struct {
			CleanupPolicy []string `yaml:"cleanup.policy"`
			RetentionMS   *int64   `yaml:"retention.ms,omitempty"`
		} `yaml:"topicConfiguration"`
		BindingVersion string `yaml:"bindingVersion"`
	}
	asyncOperation struct {
		Action   string     `yaml:"action"`
		Channel  asyncRef   `yaml:"channel"`
		Messages []asyncRef `yaml:"messages"`
	}
	asyncComponents struct {
		Messages map[string]asyncMessage `yaml:"messages"`
		// Schemas are nodes for payloads, and maps for headers.
		Schemas map[string]any `yaml:"schemas"`
	}
	asyncMessage struct {
		Name        string   `yaml:"name"`
		Title       string   `yaml:"title"`
		Summary     string   `yaml:"summary"`
		ContentType string   `yaml:"contentType"`
		Headers     asyncRef `yaml:"headers"`
		Payload     asyncRef `yaml:"payload"`
		Bindings    struct {
			Kafka struct {
				Key            map[string]any `yaml:"key"`
				BindingVersion string         `yaml:"bindingVersion"`
			} `yaml:"kafka"`
		} `yaml:"bindings"`
	}
)
