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
		Components: asyncComponents{Messages: map[string]asyncMessage{}},
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
		m, err := messageOf(k, t, actions)
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

func messageOf(k Kind, t Topic, actions *Actions) (asyncMessage, error) {
	raw, _ := actions.JSONSchema(k)
	var schema yaml.Node
	// JSON is YAML, and a node keeps the order of the fields.
	if err := yaml.Unmarshal(raw, &schema); err != nil {
		return asyncMessage{}, fmt.Errorf("read the JSON Schema of %s: %w", k, err)
	}
	var head struct{ Title, Description string }
	if err := json.Unmarshal(raw, &head); err != nil {
		return asyncMessage{}, fmt.Errorf("read the JSON Schema of %s: %w", k, err)
	}
	root := schema.Content[0]
	plainStyle(root)
	for i := 0; i < len(root.Content); {
		if name := root.Content[i].Value; name == "$schema" || name == "$id" {
			root.Content = slices.Delete(root.Content, i, i+2)
			continue
		}
		i += 2
	}
	text := func(description string) map[string]any {
		return map[string]any{"type": "string", "description": description}
	}
	m := asyncMessage{
		Name: string(k), Title: head.Title, Summary: head.Description, ContentType: ContentTypeJSON,
	}
	m.Headers = map[string]any{"type": "object", "properties": map[string]any{
		HeaderSpecVersion: map[string]any{"type": "string", "const": "1.0"},
		HeaderID:          text("Identifies the event, together with ce_source."),
		HeaderSource:      text("Who says so."),
		HeaderType:        map[string]any{"type": "string", "const": string(k)},
		HeaderTime: map[string]any{
			"type": "string", "format": "date-time", "description": "When it happened.",
		},
		HeaderTrace: text("A W3C trace context."),
	}}
	// The schemas use nothing that draft 07, which AsyncAPI tools know, does not have.
	m.Payload.Format, m.Payload.Schema = "application/schema+json;version=draft-07", root
	m.Bindings.Kafka.Key, m.Bindings.Kafka.BindingVersion = text(
		"The record's key: "+t.Key+".",
	), "0.5.0"
	return m, nil
}

// plainStyle writes what was JSON as YAML.
func plainStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plainStyle(c)
	}
}

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
	}
	asyncMessage struct {
		Name        string         `yaml:"name"`
		Title       string         `yaml:"title"`
		Summary     string         `yaml:"summary"`
		ContentType string         `yaml:"contentType"`
		Headers     map[string]any `yaml:"headers"`
		Payload     struct {
			Format string     `yaml:"schemaFormat"`
			Schema *yaml.Node `yaml:"schema"`
		} `yaml:"payload"`
		Bindings struct {
			Kafka struct {
				Key            map[string]any `yaml:"key"`
				BindingVersion string         `yaml:"bindingVersion"`
			} `yaml:"kafka"`
		} `yaml:"bindings"`
	}
)
