/* Storage types read into and written from the compute type T: LOAD_<S>(p) and STORE_<S>(p, v), one element each,
 * without branches so that loops over them vectorise. float16 and bfloat16 are integers here: the conversions below
 * are exact on the way in and round to nearest even, once, on the way out. */
#ifndef CYCONV_STORAGE_ONCE
#define CYCONV_STORAGE_ONCE
typedef struct { uint16_t bits; } half;
typedef struct { uint16_t bits; } bfloat;

INLINE float float_of_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}
INLINE uint32_t bits_of_float(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

INLINE float load_half(half h)
{
    /* The five exponent bits, moved to float32's place, are 112 too small: a multiplication mends normal and
     * subnormal numbers alike. Infinity and NaN get float32's full exponent. */
    uint32_t magnitude = (uint32_t)(h.bits & 0x7fff) << 13, sign = (uint32_t)(h.bits & 0x8000) << 16;
    uint32_t finite = bits_of_float(float_of_bits(magnitude) * 0x1p112f);
    return float_of_bits(sign | (magnitude >= 0x0f800000 ? magnitude | 0x7f800000 : finite));
}

INLINE half store_half(float f)
{
    uint32_t u = bits_of_float(f), sign = u >> 16 & 0x8000, m = u & 0x7fffffff;
    /* Below 2^-14 half is subnormal: adding 1/2 puts its last place at float32's, which rounds it. */
    uint32_t subnormal = bits_of_float(float_of_bits(m) + 0.5f) - 0x3f000000;
    uint32_t normal = (m - 0x38000000 + 0xfff + (m >> 13 & 1)) >> 13;
    uint32_t big = m > 0x7f800000 ? 0x7e00 : 0x7c00;
    uint32_t h = m < 0x38800000 ? subnormal : normal;
    return (half){(uint16_t)(sign | (m >= 0x477ff000 ? big : h))};
}

INLINE float load_bfloat(bfloat b) { return float_of_bits((uint32_t)b.bits << 16); }

INLINE bfloat store_bfloat(float f)
{
    uint32_t u = bits_of_float(f), rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
    return (bfloat){(uint16_t)((u & 0x7fffffff) > 0x7f800000 ? (u >> 16 | 0x40) : rounded)};
}

#define LOAD_float(p) (*(const float *)(p))
#define LOAD_double(p) (*(const double *)(p))
#define LOAD_int32_t(p) (*(const int32_t *)(p))
#define LOAD_half(p) load_half(*(const half *)(p))
#define LOAD_bfloat(p) load_bfloat(*(const bfloat *)(p))
#define STORE_float(p, v) (*(float *)(p) = (v))
#define STORE_double(p, v) (*(double *)(p) = (v))
#define STORE_int32_t(p, v) (*(int32_t *)(p) = (v))
#define STORE_half(p, v) (*(half *)(p) = store_half(v))
#define STORE_bfloat(p, v) (*(bfloat *)(p) = store_bfloat(v))
#endif
