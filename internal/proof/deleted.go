package proof

import (
	"context"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/schemas"
)

// deletions are, by stream, the end of the last day of which retention deleted
// something, Unix ns. What arrived before is not looked at: what is not there any
// more cannot be told from what never was.
type deletions map[string]int64

func readDeletions(ctx context.Context, store archive.Store) (deletions, error) {
	all, err := archive.Deletions(ctx, store, "", "")
	if err != nil {
		return nil, err
	}
	d := deletions{}
	for _, gone := range all {
		day := time.Unix(0, gone.ArrivalTo).UTC().Truncate(dayLength)
		d[gone.Chain.Stream] = max(d[gone.Chain.Stream], day.Add(dayLength).UnixNano())
	}
	return d, nil
}

// of is the latest of the streams that events of a kind may be in.
func (d deletions) of(k schemas.Kind) (last int64) {
	for stream, t := range d {
		if (stream == schemas.StreamAudit) == (k == schemas.KindAudit) {
			last = max(last, t)
		}
	}
	return last
}
