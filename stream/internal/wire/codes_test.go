package wire

import (
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/slipstream-rec/slipstream/fault"
)

// TestEveryCodeOfTheProtocolHasAClass lists every error code of Kafka's protocol. A code that a
// new version of kerr knows has to be added here with the class that is right for it: a broker
// that answers with it must not make healthy records dead letters.
func TestEveryCodeOfTheProtocolHasAClass(t *testing.T) {
	t.Parallel()
	classes := map[string]fault.Class{
		"UNKNOWN_SERVER_ERROR":                       fault.Transient,
		"OFFSET_OUT_OF_RANGE":                        fault.Transient,
		"CORRUPT_MESSAGE":                            fault.Transient,
		"UNKNOWN_TOPIC_OR_PARTITION":                 fault.Transient,
		"INVALID_FETCH_SIZE":                         fault.Transient,
		"LEADER_NOT_AVAILABLE":                       fault.Transient,
		"NOT_LEADER_FOR_PARTITION":                   fault.Transient,
		"REQUEST_TIMED_OUT":                          fault.Transient,
		"BROKER_NOT_AVAILABLE":                       fault.Transient,
		"REPLICA_NOT_AVAILABLE":                      fault.Transient,
		"MESSAGE_TOO_LARGE":                          fault.Permanent,
		"STALE_CONTROLLER_EPOCH":                     fault.Transient,
		"OFFSET_METADATA_TOO_LARGE":                  fault.Permanent,
		"NETWORK_EXCEPTION":                          fault.Transient,
		"COORDINATOR_LOAD_IN_PROGRESS":               fault.Transient,
		"COORDINATOR_NOT_AVAILABLE":                  fault.Transient,
		"NOT_COORDINATOR":                            fault.Transient,
		"INVALID_TOPIC_EXCEPTION":                    fault.Transient,
		"RECORD_LIST_TOO_LARGE":                      fault.Permanent,
		"NOT_ENOUGH_REPLICAS":                        fault.Transient,
		"NOT_ENOUGH_REPLICAS_AFTER_APPEND":           fault.Transient,
		"INVALID_REQUIRED_ACKS":                      fault.Transient,
		"ILLEGAL_GENERATION":                         fault.Canceled,
		"INCONSISTENT_GROUP_PROTOCOL":                fault.Transient,
		"INVALID_GROUP_ID":                           fault.Transient,
		"UNKNOWN_MEMBER_ID":                          fault.Canceled,
		"INVALID_SESSION_TIMEOUT":                    fault.Transient,
		"REBALANCE_IN_PROGRESS":                      fault.Transient,
		"INVALID_COMMIT_OFFSET_SIZE":                 fault.Permanent,
		"TOPIC_AUTHORIZATION_FAILED":                 fault.Transient,
		"GROUP_AUTHORIZATION_FAILED":                 fault.Transient,
		"CLUSTER_AUTHORIZATION_FAILED":               fault.Transient,
		"INVALID_TIMESTAMP":                          fault.Permanent,
		"UNSUPPORTED_SASL_MECHANISM":                 fault.Transient,
		"ILLEGAL_SASL_STATE":                         fault.Transient,
		"UNSUPPORTED_VERSION":                        fault.Transient,
		"TOPIC_ALREADY_EXISTS":                       fault.Permanent,
		"INVALID_PARTITIONS":                         fault.Permanent,
		"INVALID_REPLICATION_FACTOR":                 fault.Permanent,
		"INVALID_REPLICA_ASSIGNMENT":                 fault.Permanent,
		"INVALID_CONFIG":                             fault.Permanent,
		"NOT_CONTROLLER":                             fault.Transient,
		"INVALID_REQUEST":                            fault.Transient,
		"UNSUPPORTED_FOR_MESSAGE_FORMAT":             fault.Permanent,
		"POLICY_VIOLATION":                           fault.Permanent,
		"OUT_OF_ORDER_SEQUENCE_NUMBER":               fault.Transient,
		"DUPLICATE_SEQUENCE_NUMBER":                  fault.Transient,
		"INVALID_PRODUCER_EPOCH":                     fault.Canceled,
		"INVALID_TXN_STATE":                          fault.Transient,
		"INVALID_PRODUCER_ID_MAPPING":                fault.Transient,
		"INVALID_TRANSACTION_TIMEOUT":                fault.Transient,
		"CONCURRENT_TRANSACTIONS":                    fault.Transient,
		"TRANSACTION_COORDINATOR_FENCED":             fault.Transient,
		"TRANSACTIONAL_ID_AUTHORIZATION_FAILED":      fault.Transient,
		"SECURITY_DISABLED":                          fault.Transient,
		"OPERATION_NOT_ATTEMPTED":                    fault.Transient,
		"KAFKA_STORAGE_ERROR":                        fault.Transient,
		"LOG_DIR_NOT_FOUND":                          fault.Transient,
		"SASL_AUTHENTICATION_FAILED":                 fault.Transient,
		"UNKNOWN_PRODUCER_ID":                        fault.Transient,
		"REASSIGNMENT_IN_PROGRESS":                   fault.Transient,
		"DELEGATION_TOKEN_AUTH_DISABLED":             fault.Transient,
		"DELEGATION_TOKEN_NOT_FOUND":                 fault.Transient,
		"DELEGATION_TOKEN_OWNER_MISMATCH":            fault.Transient,
		"DELEGATION_TOKEN_REQUEST_NOT_ALLOWED":       fault.Transient,
		"DELEGATION_TOKEN_AUTHORIZATION_FAILED":      fault.Transient,
		"DELEGATION_TOKEN_EXPIRED":                   fault.Transient,
		"INVALID_PRINCIPAL_TYPE":                     fault.Transient,
		"NON_EMPTY_GROUP":                            fault.Transient,
		"GROUP_ID_NOT_FOUND":                         fault.Transient,
		"FETCH_SESSION_ID_NOT_FOUND":                 fault.Transient,
		"INVALID_FETCH_SESSION_EPOCH":                fault.Transient,
		"LISTENER_NOT_FOUND":                         fault.Transient,
		"TOPIC_DELETION_DISABLED":                    fault.Permanent,
		"FENCED_LEADER_EPOCH":                        fault.Transient,
		"UNKNOWN_LEADER_EPOCH":                       fault.Transient,
		"UNSUPPORTED_COMPRESSION_TYPE":               fault.Transient,
		"STALE_BROKER_EPOCH":                         fault.Transient,
		"OFFSET_NOT_AVAILABLE":                       fault.Transient,
		"MEMBER_ID_REQUIRED":                         fault.Transient,
		"PREFERRED_LEADER_NOT_AVAILABLE":             fault.Transient,
		"GROUP_MAX_SIZE_REACHED":                     fault.Transient,
		"FENCED_INSTANCE_ID":                         fault.Canceled,
		"ELIGIBLE_LEADERS_NOT_AVAILABLE":             fault.Transient,
		"ELECTION_NOT_NEEDED":                        fault.Transient,
		"NO_REASSIGNMENT_IN_PROGRESS":                fault.Transient,
		"GROUP_SUBSCRIBED_TO_TOPIC":                  fault.Transient,
		"INVALID_RECORD":                             fault.Permanent,
		"UNSTABLE_OFFSET_COMMIT":                     fault.Transient,
		"THROTTLING_QUOTA_EXCEEDED":                  fault.Transient,
		"PRODUCER_FENCED":                            fault.Canceled,
		"RESOURCE_NOT_FOUND":                         fault.Transient,
		"DUPLICATE_RESOURCE":                         fault.Transient,
		"UNACCEPTABLE_CREDENTIAL":                    fault.Transient,
		"INCONSISTENT_VOTER_SET":                     fault.Transient,
		"INVALID_UPDATE_VERSION":                     fault.Transient,
		"FEATURE_UPDATE_FAILED":                      fault.Transient,
		"PRINCIPAL_DESERIALIZATION_FAILURE":          fault.Transient,
		"SNAPSHOT_NOT_FOUND":                         fault.Transient,
		"POSITION_OUT_OF_RANGE":                      fault.Transient,
		"UNKNOWN_TOPIC_ID":                           fault.Transient,
		"DUPLICATE_BROKER_REGISTRATION":              fault.Transient,
		"BROKER_ID_NOT_REGISTERED":                   fault.Transient,
		"INCONSISTENT_TOPIC_ID":                      fault.Transient,
		"INCONSISTENT_CLUSTER_ID":                    fault.Transient,
		"TRANSACTIONAL_ID_NOT_FOUND":                 fault.Transient,
		"FETCH_SESSION_TOPIC_ID_ERROR":               fault.Transient,
		"INELIGIBLE_REPLICA":                         fault.Transient,
		"NEW_LEADER_ELECTED":                         fault.Transient,
		"OFFSET_MOVED_TO_TIERED_STORAGE":             fault.Transient,
		"FENCED_MEMBER_EPOCH":                        fault.Transient,
		"UNRELEASED_INSTANCE_ID":                     fault.Transient,
		"UNSUPPORTED_ASSIGNOR":                       fault.Transient,
		"STALE_MEMBER_EPOCH":                         fault.Transient,
		"MISMATCHED_ENDPOINT_TYPE":                   fault.Transient,
		"UNSUPPORTED_ENDPOINT_TYPE":                  fault.Transient,
		"UNKNOWN_CONTROLLER_ID":                      fault.Transient,
		"UNKNOWN_SUBSCRIPTION_ID":                    fault.Transient,
		"TELEMETRY_TOO_LARGE":                        fault.Transient,
		"INVALID_REGISTRATION":                       fault.Transient,
		"TRANSACTION_ABORTABLE":                      fault.Transient,
		"INVALID_RECORD_STATE":                       fault.Transient,
		"SHARE_SESSION_NOT_FOUND":                    fault.Transient,
		"INVALID_SHARE_SESSION_EPOCH":                fault.Transient,
		"FENCED_STATE_EPOCH":                         fault.Transient,
		"INVALID_VOTER_KEY":                          fault.Transient,
		"DUPLICATE_VOTER":                            fault.Transient,
		"VOTER_NOT_FOUND":                            fault.Transient,
		"INVALID_REGULAR_EXPRESSION":                 fault.Transient,
		"REBOOTSTRAP_REQUIRED":                       fault.Transient,
		"STREAMS_INVALID_TOPOLOGY":                   fault.Transient,
		"STREAMS_INVALID_TOPOLOGY_EPOCH":             fault.Transient,
		"STREAMS_TOPOLOGY_FENCED":                    fault.Transient,
		"SHARE_SESSION_LIMIT_REACHED":                fault.Transient,
		"GROUP_DELETION_FAILED":                      fault.Transient,
		"STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED": fault.Transient,
		"CONTROLLER_ID_NOT_REGISTERED":               fault.Transient,
	}
	known := 0
	for code := int16(-1); code < 1000; code++ {
		e := kerr.TypedErrorForCode(code)
		if e == nil || e.Code != code { // kerr answers a code without a name with another
			continue
		}
		known++
		want, listed := classes[e.Message]
		require.True(t, listed, "code %d, %s, has no class here", code, e.Message)
		require.Equal(t, want, fault.ClassOf(Classify(Code(code))), e.Message)
		require.NotEqual(t, fault.Unknown, want, "%s: attempts would be charged", e.Message)
	}
	require.Len(t, classes, known)
	require.Equal(t, fault.Transient, fault.ClassOf(Classify(kafka.Error(999))))
}
