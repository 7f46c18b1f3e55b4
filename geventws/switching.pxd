cpdef object getcurrent()
cpdef object switch(object target)
