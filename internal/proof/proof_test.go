package proof_test

import (
	"testing"

	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/internal/proof/prooftest"
)

const day = prooftest.Day

var (
	must    = prooftest.Must
	lane    = prooftest.Lane
	event   = prooftest.Event
	alone   = prooftest.Alone
	said    = prooftest.Said
	missing = prooftest.Missing
)

// What is proven on S3, too, in integration/s3.

func TestNothingMissing(t *testing.T) { prooftest.NothingMissing(t, archivetest.NewBench(t)) }
func TestDamage(t *testing.T)         { prooftest.Damage(t, archivetest.NewBench) }
