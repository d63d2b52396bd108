package wire

import (
	"io"

	"github.com/segmentio/kafka-go/protocol"
)

// Direct returns a message that sends req to any broker, past the transport's own handling:
// metadata is not answered from its cache.
func Direct(req protocol.Message, clientID string) protocol.Message {
	return &direct{inner: req, clientID: clientID}
}

// DirectTo returns a message that sends req to one broker. kafka-go would look up a group's
// coordinator for every request, and sends heartbeats to any broker.
func DirectTo(req protocol.Message, clientID string, broker int32) protocol.Message {
	return &directTo{direct: direct{inner: req, clientID: clientID}, broker: broker}
}

// direct sends a request of kafka-go past the transport's own handling: metadata is not answered
// from its cache.
type direct struct {
	inner    protocol.Message
	clientID string
	version  int16
}

// ApiKey names the request's kind; see protocol.Message.
func (d *direct) ApiKey() protocol.ApiKey { return d.inner.ApiKey() }

// Required reports that the exchange is always done here; see protocol.RawExchanger.
func (d *direct) Required(versions map[protocol.ApiKey]int16) bool {
	d.version = versions[d.inner.ApiKey()]
	return true
}

// RawExchange performs the exchange.
func (d *direct) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	res, err := protocol.RoundTrip(rw, d.version, 1, d.clientID, d.inner)
	return answer{res}, err
}

// answer hides the type of a response from the transport, which would take it for the answer to a
// request of its own.
type answer struct{ protocol.Message }

// Answer takes the response out of what an exchange with Direct or DirectTo returns.
func Answer(m protocol.Message, err error) (protocol.Message, error) {
	if a, ok := m.(answer); ok {
		return a.Message, err
	}
	return m, err
}

// directTo sends a request to one broker. kafka-go would look up a group's coordinator for every
// request, and sends heartbeats to any broker.
type directTo struct {
	direct
	broker int32
}

// Broker routes the request; see protocol.BrokerMessage.
func (d *directTo) Broker(protocol.Cluster) (protocol.Broker, error) {
	return protocol.Broker{ID: d.broker}, nil
}
