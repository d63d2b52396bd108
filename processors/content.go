package processors

import (
	"cmp"
	"encoding/json"
	"strconv"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/forward"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// misplacedItems is the topic that catalog forwards to.
var misplacedItems = record.MisplacedTopic(schemas.GroupCatalog)

// place orders the records of a key: the one with the highest place is the newest. Records of one
// key may stand in several partitions, whose offsets cannot be compared: there the log time
// decides, then the partition. Within a partition log times do not fall (record.Clock), and the
// offset decides.
type place struct {
	at        time.Time
	partition int
	offset    int64
}

func (p place) compare(other place) int {
	if p.partition == other.partition {
		return cmp.Compare(p.offset, other.offset)
	}
	return cmp.Or(p.at.Compare(other.at), cmp.Compare(p.partition, other.partition))
}

// item decodes the content of an item, a forwarded one as of its origin, and returns the place at
// which the log took it first.
func (p *Catalog) item(r *record.Record) (schemas.Item, place, error) {
	origin, err := atOrigin(r, schemas.GroupCatalog)
	if err != nil {
		return schemas.Item{}, place{}, err
	}
	x, err := schemas.DecodeItem(origin)
	if err == nil && r.Topic == misplacedItems {
		err = checkForwarded(r, x.ItemID, p.cfg.Partitions)
	}
	if err != nil {
		return schemas.Item{}, place{}, err
	}
	at, err := firstPlace(origin)
	return x, at, err
}

// firstPlace returns the place at which a record was first read. A replayed dead letter must not
// overwrite newer content.
func firstPlace(r *record.Record) (place, error) {
	here := place{r.Time, r.Partition, r.Offset}
	if r.Topic == schemas.TopicItems || r.Header(record.HeaderOffset) == "" {
		return here, nil
	}
	if wasForwarded(r, schemas.GroupCatalog) {
		at, err := record.AtOrigin(r)
		if err != nil {
			return place{}, fault.As(fault.Permanent, err)
		}
		return place{at.Time, at.Partition, at.Offset}, nil
	}
	offset, err := strconv.ParseInt(r.Header(record.HeaderOffset), 10, 64)
	if err != nil {
		return place{}, fault.Permanentf(
			"header %s: %q is not an offset", record.HeaderOffset, r.Header(record.HeaderOffset),
		)
	}
	at := headerTime(r, record.HeaderTime)
	return place{at, int(headerInt(r, record.HeaderPartition)), offset}, nil
}

// owns tells whether the item belongs in the partition.
func (p *Catalog) owns(partition int, itemID string) bool {
	return record.PartitionOf([]byte(itemID), p.cfg.Partitions) == partition
}

// moveOf says where to forward a record of an item. A tombstone becomes an explicit withdrawal:
// compaction would forget it while an older record of the item stands in another partition.
func moveOf(index int, r *record.Record, x *schemas.Item) forward.Move {
	m := forward.Move{Index: index, Key: []byte(x.ItemID)}
	if len(r.Value) == 0 {
		m.Value, _ = json.Marshal(schemas.Item{ItemID: x.ItemID, Withdrawn: true})
	}
	return m
}
