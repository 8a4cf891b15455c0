package schemas

import "math"

// bucketShift leaves sign, exponent and the top seven bits of the mantissa: 128
// buckets between two powers of two, each 0.8 % wide at most.
const bucketShift = 52 - 7

// BucketOf is the index of the bucket that x falls in: larger x, larger or equal
// index, -x has the negative index. Bucket 0 holds 0 and what is below 2^-1029.
// x is not NaN.
func BucketOf(x float64) int32 {
	i := int32(math.Float64bits(math.Abs(x)) >> bucketShift)
	if x < 0 {
		return -i
	}
	return i
}

// BucketValue is the middle of a bucket, at most 0.4 % away from every number of
// 2^-1022 and more in it (below that floats themselves lose digits).
func BucketValue(index int32) float64 {
	switch {
	case index == 0:
		return 0
	case index < 0:
		return -BucketValue(-index)
	}
	return math.Float64frombits(uint64(index)<<bucketShift | 1<<(bucketShift-1))
}
