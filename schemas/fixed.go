package schemas

import (
	"errors"
	"math"
	"math/bits"
)

// FixedOf rounds x once to a multiple of 2^-32, half to even. It refuses NaN,
// infinities and |x| of 2^63 and more.
func FixedOf(x float64) (Fixed, error) {
	if !(math.Abs(x) < 1<<63) {
		return Fixed{}, errors.New("fixed: not a number below 2^63")
	}
	frac, exp := math.Frexp(math.Abs(x)) // |x| = frac * 2^exp, frac in [0.5, 1)
	mantissa := uint64(frac * (1 << 53)) // exact: |x| = mantissa * 2^(exp-53)
	shift := exp - 53 + 32               // |x| = mantissa * 2^shift units, shift is 42 at most
	var f Fixed
	switch {
	case shift >= 0:
		f = Fixed{Hi: int64(mantissa >> (64 - shift)), Lo: mantissa << shift}
	case shift > -64:
		f.Lo = roundShift(mantissa, uint(-shift))
	}
	if x < 0 {
		f = f.neg()
	}
	return f, nil
}

// roundShift is m / 2^n rounded half to even, 0 < n < 64.
func roundShift(m uint64, n uint) uint64 {
	q, rest, half := m>>n, m&(1<<n-1), uint64(1)<<(n-1)
	if rest > half || rest == half && q&1 == 1 {
		q++
	}
	return q
}

// Add is the sum, modulo 2^128 units: it takes 2^32 numbers of the largest size
// to get there, and even then the order of adding does not matter.
func (f Fixed) Add(g Fixed) Fixed {
	lo, carry := bits.Add64(f.Lo, g.Lo, 0)
	hi, _ := bits.Add64(uint64(f.Hi), uint64(g.Hi), carry)
	return Fixed{Hi: int64(hi), Lo: lo}
}

// Sub takes back what was added: f.Add(g).Sub(g) is f.
func (f Fixed) Sub(g Fixed) Fixed { return f.Add(g.neg()) }

func (f Fixed) neg() Fixed {
	lo, borrow := bits.Sub64(0, f.Lo, 0)
	hi, _ := bits.Sub64(0, uint64(f.Hi), borrow)
	return Fixed{Hi: int64(hi), Lo: lo}
}

// Float is the nearest float64, half to even.
func (f Fixed) Float() float64 { return f.Div(1) }

// Div is the float64 nearest to the exact quotient f / n, half to even: an
// average rounded once. n is at least 1.
func (f Fixed) Div(n int64) float64 {
	if n < 1 {
		panic("schemas: Fixed.Div by less than 1")
	}
	negative := f.Hi < 0
	if negative {
		f = f.neg()
	}
	hi, lo := uint64(f.Hi), f.Lo // the magnitude; 2^127 fits
	if hi == 0 && lo == 0 {
		return 0
	}
	// Shift the magnitude to the top of 128 bits and append 64 zero bits, so that
	// the quotient has more bits than a float64 needs.
	up := bits.LeadingZeros64(hi)
	if hi == 0 {
		up = 64 + bits.LeadingZeros64(lo)
		hi, lo = lo, 0
	}
	hi, lo = hi<<(up%64)|lo>>1>>(63-up%64), lo<<(up%64)
	q2, r := hi/uint64(n), hi%uint64(n)
	q1, r := bits.Div64(r, lo, uint64(n))
	q0, r := bits.Div64(r, 0, uint64(n))
	// f / n = (q2, q1, q0; r) * 2^(-64 - up - 32)
	x := math.Ldexp(topBits(q2, q1, q0, r != 0), -96-up)
	if negative {
		return -x
	}
	return x
}

// topBits is the 192-bit number (q2, q1, q0), which has at least 55 bits, as a
// float64, rounded half to even; sticky says that it is a little more than that.
func topBits(q2, q1, q0 uint64, sticky bool) float64 {
	exp := 128
	for q2 == 0 {
		q2, q1, q0, exp = q1, q0, 0, exp-64
	}
	up := bits.LeadingZeros64(q2)
	if q1<<up != 0 || q0 != 0 {
		sticky = true
	}
	m := q2<<up | q1>>1>>(63-up)
	// The conversion rounds m half to even; the lowest of its 11 bits too many
	// stands for everything below.
	if sticky {
		m |= 1
	}
	return math.Ldexp(float64(m), exp-up)
}
