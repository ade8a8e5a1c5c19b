"""Writing JSON into memory that is known to have room for it; included by the compiled modules of this package."""

cdef enum:
    #: Upper bound of the bytes of a number.
    DIGITS = 20


cdef inline unsigned char* put(unsigned char* at, const char* text, Py_ssize_t size) noexcept:
    memcpy(at, text, size)
    return at + size


cdef inline unsigned char* put_bytes(unsigned char* at, bytes text):
    return put(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef inline unsigned char* put_number(unsigned char* at, long long number) noexcept:
    cdef unsigned char[DIGITS] digits
    cdef int size = 0
    cdef unsigned long long rest = <unsigned long long> number
    if number < 0:
        at[0] = 45
        at += 1
        rest = -rest
    while True:
        digits[size] = 48 + <unsigned char> (rest % 10)
        size += 1
        rest //= 10
        if not rest:
            break
    while size:
        size -= 1
        at[0] = digits[size]
        at += 1
    return at


cdef bint is_plain_text(const char* text, Py_ssize_t size) noexcept:
    """Whether a text is the same in JSON."""
    cdef Py_ssize_t place
    for place in range(size):
        if text[place] == 34 or text[place] == 92 or 0 <= <signed char> text[place] < 32:
            return False
    return True
