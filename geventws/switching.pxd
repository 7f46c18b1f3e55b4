cpdef object getcurrent()
cpdef object switch(object target)
cpdef unsigned long thread_id() noexcept
