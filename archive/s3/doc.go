// Package s3 keeps the archive in buckets of an S3 store.
//
// The invariant: an object is put with If-None-Match: *, in one request, and
// only into a store that was seen to refuse the second of two such puts. So no
// object is ever replaced, whoever races, and ErrExists is the store's word.
//
//	store, err := s3.Open(s3.Config{Endpoint: "https://s3.eu-central-1.amazonaws.com", Bucket: "telemetry", AuditBucket: "audit"})
//	err = store.Probe(ctx)
//
// The audit trail may have a bucket of its own: keys whose second name is audit
// are kept there, and nothing else is. A listing shows both as one store.
package s3
