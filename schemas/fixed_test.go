package schemas_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/dermai/millrace/schemas"
)

// bigOf is a Fixed in units of 2^-32.
func bigOf(f schemas.Fixed) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(f.Hi), 64)
	return n.Add(n, new(big.Int).SetUint64(f.Lo))
}

// randomFloat has any exponent that matters here.
func randomFloat(r *rand.Rand) float64 {
	x := math.Ldexp(1+r.Float64(), r.IntN(63+90)-90)
	switch r.IntN(4) {
	case 0:
		x = math.Trunc(x)
	case 1:
		x = math.Ldexp(float64(r.IntN(2000)*2+1), -33) // half a unit: ties
	}
	if r.IntN(2) == 0 {
		return -x
	}
	return x
}

// TestFixedOf rounds once, half to even, as math/big does.
func TestFixedOf(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	half := big.NewFloat(0.5)
	check := func(x float64) {
		t.Helper()
		got, err := schemas.FixedOf(x)
		if err != nil {
			t.Fatalf("%v: %v", x, err)
		}
		scaled := new(big.Float).SetPrec(2000).SetFloat64(x)
		scaled.SetMantExp(scaled, 32)
		want, _ := scaled.Int(nil) // toward zero
		rest := new(big.Float).SetPrec(2000).Sub(scaled, new(big.Float).SetInt(want))
		sign := int64(rest.Sign())
		if c := rest.Abs(rest).Cmp(half); c > 0 || c == 0 && want.Bit(0) == 1 {
			want.Add(want, big.NewInt(sign))
		}
		if bigOf(got).Cmp(want) != 0 {
			t.Fatalf("FixedOf(%v) = %v, want %v", x, bigOf(got), want)
		}
	}
	for _, x := range []float64{0, 1, -1, 0.5, math.Ldexp(1, -33), math.Ldexp(3, -33), math.Ldexp(1, -34), math.Ldexp(1, -96), math.Ldexp(1, -97), 5e-324, -5e-324, math.Nextafter(1<<63, 0), -math.Nextafter(1<<63, 0)} {
		check(x)
	}
	for range 100000 {
		check(randomFloat(r))
	}
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1 << 63, -(1 << 63), math.MaxFloat64} {
		if f, err := schemas.FixedOf(x); err == nil {
			t.Errorf("FixedOf(%v) = %v", x, f)
		}
	}
}

// TestFixedSums adds and divides as math/big does, rounding once.
func TestFixedSums(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		var sum schemas.Fixed
		want := new(big.Int)
		for range r.IntN(5) {
			f, err := schemas.FixedOf(randomFloat(r))
			if err != nil {
				t.Fatal(err)
			}
			sum = sum.Add(f)
			want.Add(want, bigOf(f))
		}
		if r.IntN(2) == 0 { // sums larger than any number
			f := schemas.Fixed{Hi: r.Int64() >> r.IntN(40), Lo: r.Uint64()}
			if r.IntN(2) == 0 {
				f.Hi = -f.Hi
			}
			sum, want = f, bigOf(f)
		}
		if bigOf(sum).Cmp(want) != 0 {
			t.Fatalf("sum %v, want %v", bigOf(sum), want)
		}
		n := r.Int64()>>r.IntN(63) | 1
		if n < 0 {
			n = -n
		}
		quotient := new(big.Rat).SetFrac(want, new(big.Int).Lsh(big.NewInt(n), 32))
		if f, _ := quotient.Float64(); sum.Div(n) != f {
			t.Fatalf("%v / %d = %v, want %v", want, n, sum.Div(n), f)
		}
		if f, _ := new(big.Rat).SetFrac(want, new(big.Int).Lsh(big.NewInt(1), 32)).Float64(); sum.Float() != f {
			t.Fatalf("Float of %v = %v, want %v", want, sum.Float(), f)
		}
	}
	lowest := schemas.Fixed{Hi: math.MinInt64}
	if got := lowest.Float(); got != -math.Ldexp(1, 95) {
		t.Errorf("the lowest Fixed is %v", got)
	}
}

// TestFixedOrder: the order of adding is nothing, overflow included.
func TestFixedOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 1000 {
		a := []schemas.Fixed{{Hi: math.MaxInt64, Lo: r.Uint64()}, {Hi: r.Int64(), Lo: r.Uint64()}, {Hi: -r.Int64(), Lo: r.Uint64()}}
		if x, y := a[0].Add(a[1]).Add(a[2]), a[2].Add(a[0]).Add(a[1]); x != y {
			t.Fatalf("%v and %v", x, y)
		}
	}
}

func TestFixedDivByNothing(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("divided by 0")
		}
	}()
	schemas.Fixed{Lo: 1}.Div(0)
}

// TestBuckets: order is kept, signs mirror, and the middle is near.
func TestBuckets(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	random := func() float64 {
		x := math.Float64frombits(r.Uint64())
		for math.IsNaN(x) || math.IsInf(x, 0) {
			x = math.Float64frombits(r.Uint64())
		}
		if r.IntN(2) == 0 {
			x = randomFloat(r)
		}
		return x
	}
	for range 200000 {
		x, y := random(), random()
		if x > y {
			x, y = y, x
		}
		i, j := schemas.BucketOf(x), schemas.BucketOf(y)
		if i > j {
			t.Fatalf("buckets of %v and %v: %d and %d", x, y, i, j)
		}
		if k := schemas.BucketOf(-x); k != -i {
			t.Fatalf("buckets of %v and its opposite: %d and %d", x, i, k)
		}
		v := schemas.BucketValue(i)
		if math.IsInf(v, 0) || schemas.BucketOf(v) != i {
			t.Fatalf("bucket %d of %v holds %v, which is in %d", i, x, v, schemas.BucketOf(v))
		}
		if math.Abs(x) >= math.Ldexp(1, -1022) && math.Abs(v-x) > 0.004*math.Abs(x) {
			t.Fatalf("bucket of %v stands for %v", x, v)
		}
	}
	for x, want := range map[float64]int32{0: 0, math.Copysign(0, -1): 0, 5e-324: 0, 1: 1023 * 128, 2: 1024 * 128, -1: -1023 * 128, 1.0078125: 1023*128 + 1} {
		if got := schemas.BucketOf(x); got != want {
			t.Errorf("bucket of %v: %d, want %d", x, got, want)
		}
	}
	if v := schemas.BucketValue(0); v != 0 {
		t.Errorf("bucket 0 stands for %v", v)
	}
}
