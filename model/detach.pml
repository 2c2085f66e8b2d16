/* Letting go of a single role: its calls are counted without a fence (begin, knock, isIn, end
 * and leaveLane of side.go), other calls on the side with one (enter, leave), and detach
 * fences for all threads. The memory goes when the last of them is out, not before, and
 * it does go.
 *
 * The stores of the single role's goroutine lie in a buffer until they reach memory, in
 * their order; its loads do not wait for them.
 */

#ifndef CALLS
#define CALLS 2
#endif
#define BIAS 8
#define MUST(property, holds) assert(property || (holds))

byte refs = BIAS; /* calls under way that are counted; BIAS is added, so that detached is below it */
bit busy, detached, finished, gone;
chan buffer = [2] of { bit }; /* stores of busy on their way */
byte ended;
hidden byte mapped, released; /* properties, see MUST */

inline finish() {
	if
	:: d_step { !finished -> finished = 1 }; gone = 1
	:: finished
	fi
}

inline use() {
	MUST(mapped, !gone);
	MUST(mapped, !gone)
}

proctype memory() { /* what lies in the buffer gets there */
	bit x;
end:
	do
	:: d_step { buffer?x -> busy = x }
	od
}

proctype alone() {
	byte i;
	bit d;

	do
	:: i < CALLS ->
		buffer!1;
		d = detached;
		if
		:: !d -> use()
		:: d
		fi;
		buffer!0;
		d = detached;
		if
		:: d ->
			/* endLast */
#ifndef M_NOFENCE_LAST
			empty(buffer);
#endif
			if
			:: refs == 0 ->
				if
				:: !busy -> finish()
				:: busy
				fi
			:: refs != 0
			fi
		:: !d
		fi;
		i++
	:: i == CALLS -> break
	od;
	ended++
}

proctype counted() {
	byte r;

	d_step { refs++; r = refs };
	if
	:: r > BIAS -> use()
	:: r <= BIAS
	fi;
	d_step { refs--; r = refs };
	if
	:: r == 0 ->
		if
		:: !busy -> finish()
		:: busy
		fi
	:: r != 0
	fi;
	ended++
}

proctype detacher() {
	detached = 1;
#ifdef M_LATEFENCE
	refs = refs - BIAS; /* a mutant: whoever leaves now looks at busy too early */
#endif
#ifndef M_NOFENCE_DETACH
	empty(buffer);
#endif
#ifndef M_LATEFENCE
	refs = refs - BIAS;
#endif
	if
	:: refs == 0 ->
#ifndef M_BLINDDETACH
		if
		:: !busy -> finish()
		:: busy
		fi
#else
		finish()
#endif
	:: refs != 0
	fi;
	ended++
}

init {
	atomic { run memory(); run alone(); run counted(); run detacher() };
	ended == 3;
	MUST(released, gone)
}
