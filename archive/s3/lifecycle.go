package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/lifecycle"
)

// ErrForeignRules says that a bucket has lifecycle rules that are not ours.
var ErrForeignRules = errors.New("the bucket has lifecycle rules of its own, which are not touched: add ours to them by hand, " +
	"and see that none of them expires anything of the archive")

// rulePrefix begins the ids of our rules.
const rulePrefix = "millrace-"

// forgetDays is for how long a bucket with versions keeps what was deleted.
const forgetDays = 14

// rules are what the bucket of telemetry should do by itself. None of them names a
// key of another class, and none deletes what is not deleted already: only retention
// knows of legal holds.
func (b *bucket) rules() *lifecycle.Configuration {
	c := lifecycle.NewConfiguration()
	if b.cold != "" {
		c.Rules = append(c.Rules, lifecycle.Rule{
			ID: rulePrefix + "cold", Status: "Enabled",
			RuleFilter: lifecycle.Filter{Prefix: b.prefix + "l1/telemetry/"},
			Transition: lifecycle.Transition{Days: lifecycle.ExpirationDays(b.coldDays), StorageClass: b.cold},
		})
	}
	for _, level := range []string{"l0", "l1"} {
		c.Rules = append(c.Rules, lifecycle.Rule{
			ID: rulePrefix + "forget-" + level, Status: "Enabled",
			RuleFilter:                  lifecycle.Filter{Prefix: b.prefix + level + "/telemetry/"},
			Expiration:                  lifecycle.Expiration{DeleteMarker: true},
			NoncurrentVersionExpiration: lifecycle.NoncurrentVersionExpiration{NoncurrentDays: forgetDays},
		})
	}
	return c
}

// Lifecycle gives the lifecycle rules of the bucket of telemetry as the XML of the S3
// API, and the bucket's name. It asks nothing of the store.
func (s *Store) Lifecycle() (bucket, text string, err error) {
	b := s.buckets[0]
	out, err := xml.MarshalIndent(b.rules(), "", "  ")
	return b.name, string(out), err
}

// SetLifecycle sets those rules, and tells whether they were others before.
// ErrForeignRules: the bucket has more than ours, and nothing was changed.
func (s *Store) SetLifecycle(ctx context.Context) (changed bool, err error) {
	b := s.buckets[0]
	ctx, cancel := context.WithTimeout(ctx, b.stall)
	defer cancel()
	changed, err = b.setRules(ctx)
	if err != nil {
		return false, fmt.Errorf("lifecycle of bucket %s: %w", b.name, err)
	}
	return changed, nil
}

func (b *bucket) setRules(ctx context.Context) (changed bool, err error) {
	is, err := b.readRules(ctx)
	if err != nil {
		return false, err
	}
	for _, r := range is.Rules {
		if !strings.HasPrefix(r.ID, rulePrefix) {
			return false, fmt.Errorf("%w; one of them is %q", ErrForeignRules, r.ID)
		}
	}
	want := b.rules()
	if sameRules(is, want) {
		return false, nil
	}
	if err := b.core.SetBucketLifecycle(ctx, b.name, want); err != nil {
		return false, err
	}
	if is, err = b.readRules(ctx); err != nil {
		return false, err
	}
	if !sameRules(is, want) {
		return false, errors.New("the store took the rules and gives back others")
	}
	return true, nil
}

func (b *bucket) readRules(ctx context.Context) (*lifecycle.Configuration, error) {
	is, err := b.core.GetBucketLifecycle(ctx, b.name)
	if minio.ToErrorResponse(err).Code == "NoSuchLifecycleConfiguration" {
		return lifecycle.NewConfiguration(), nil
	}
	return is, err
}

func sameRules(a, b *lifecycle.Configuration) bool {
	same := len(a.Rules) == len(b.Rules)
	for i := 0; same && i < len(a.Rules); i++ {
		x, y := a.Rules[i], b.Rules[i]
		same = x.ID == y.ID && x.Status == y.Status && x.RuleFilter.Prefix == y.RuleFilter.Prefix &&
			x.Transition.Days == y.Transition.Days && x.Transition.StorageClass == y.Transition.StorageClass &&
			x.Expiration.Days == y.Expiration.Days && x.Expiration.DeleteMarker == y.Expiration.DeleteMarker &&
			x.NoncurrentVersionExpiration.NoncurrentDays == y.NoncurrentVersionExpiration.NoncurrentDays
	}
	return same
}
