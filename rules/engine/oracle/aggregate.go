package oracle

import (
	"math"
	"math/big"
	"slices"

	"github.com/dermai/millrace/rules"
)

// aggregate computes a rule's value from the samples of a window, which ascend
// by order; seconds is the length of the window. False: nothing has no value.
func aggregate(r *rules.Rule, window []*sample, seconds float64) (float64, bool) {
	n := len(window)
	switch r.Aggregate {
	case rules.Count:
		return float64(n), true
	case rules.Rate:
		return float64(n) / seconds, true
	}
	if n == 0 {
		return 0, false
	}
	var values []float64
	hits := 0
	for _, sm := range window {
		values = append(values, sm.Value)
		if sm.Hit {
			hits++
		}
	}
	switch r.Aggregate {
	case rules.Ratio:
		return float64(hits) / float64(n), true
	case rules.Sum:
		return nearest(units(values), 1), true
	case rules.Avg:
		return nearest(units(values), int64(n)), true
	case rules.Min:
		return slices.Min(values), true
	case rules.Max:
		return slices.Max(values), true
	case rules.LastOf:
		return values[n-1], true
	}
	slices.Sort(values)
	return bucket(values[rank(r.Quantile, n)-1]), true
}

// units is the sum of the values in whole units of 2^-32, each rounded half to
// even.
func units(values []float64) *big.Int {
	sum := new(big.Int)
	for _, v := range values {
		exact := new(big.Float).SetPrec(2000).SetFloat64(v)
		exact.SetMantExp(exact, 32)
		floor, _ := exact.Int(nil) // toward zero
		rest := new(big.Float).Sub(exact, new(big.Float).SetInt(floor))
		half := rest.Abs(rest).Cmp(big.NewFloat(0.5))
		if half > 0 || half == 0 && floor.Bit(0) == 1 {
			if v < 0 {
				floor.Sub(floor, big.NewInt(1))
			} else {
				floor.Add(floor, big.NewInt(1))
			}
		}
		sum.Add(sum, floor)
	}
	return sum
}

// nearest is the float nearest to units of 2^-32 divided by n.
func nearest(units *big.Int, n int64) float64 {
	q := new(big.Rat).SetFrac(units, new(big.Int).Mul(big.NewInt(n), new(big.Int).Lsh(big.NewInt(1), 32)))
	v, _ := q.Float64()
	return v + 0
}

// rank is ceil(q n), q a decimal fraction of at most six places.
func rank(q float64, n int) int {
	exact, _ := new(big.Rat).SetString(big.NewFloat(q).Text('f', 6))
	exact.Mul(exact, big.NewRat(int64(n), 1))
	k := new(big.Int).Div(new(big.Int).Add(exact.Num(), new(big.Int).Sub(exact.Denom(), big.NewInt(1))), exact.Denom())
	return max(1, int(k.Int64()))
}

// bucket is the middle of the logarithmic bucket that holds a value: 128
// buckets for each power of two.
func bucket(v float64) float64 {
	if v == 0 {
		return 0
	}
	fraction, exponent := math.Frexp(math.Abs(v)) // fraction in [0.5, 1)
	step := math.Floor((fraction - 0.5) * 256)    // 0 to 127
	return math.Copysign(math.Ldexp(0.5+(step+0.5)/256, exponent), v)
}
