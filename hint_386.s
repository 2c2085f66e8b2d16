#include "textflag.h"

// func pause()
TEXT ·pause(SB), NOSPLIT, $0-0
	PAUSE
	RET

// func prefetchWrite(p unsafe.Pointer, lines uint64): not every 32-bit processor knows PREFETCHW.
TEXT ·prefetchWrite(SB), NOSPLIT, $0-12
	RET

// func prefetchRead(p, lines uintptr)
TEXT ·prefetchRead(SB), NOSPLIT, $0-8
	MOVL p+0(FP), AX
	MOVL lines+4(FP), CX
next:
	PREFETCHT0 (AX)
	ADDL $64, AX
	DECL CX
	JNZ  next
	RET

// func goroutine() uintptr: the address of its g.
TEXT ·goroutine(SB), NOSPLIT, $0-4
	MOVL (TLS), AX
	MOVL AX, ret+0(FP)
	RET
