/* Who goes straight to the slots of a side that many share: one goroutine at a time, the one whose number is in the lane
 * (lane, knock, isIn, leaveLane, moveLane and detach of side.go). Another one that finds itself not there moves the lane to itself,
 * if nobody is in a call there. And the memory goes only when nobody is.
 *
 * Each has a busy of its own. Its stores to that lie in a buffer until they reach memory; its loads do not wait for them.
 * Calls that are counted with a fence are in detach.pml. DETACH: the side is detached, at any time.
 */

#ifndef CALLS
#define CALLS 2
#endif
#ifndef G
#define G 2 /* goroutines: numbers 1 to G; 0 is nobody */
#endif
#define MUST(property, holds) assert(property || (holds))

byte lane;
bit busy[G+1], mutex, bar, out; /* out: refs is at its lowest, so that the last one lets go */
byte inside; /* what only the model knows: how many are in the lane */
bit gone;
hidden byte alone, mapped; /* properties, see MUST */
#ifdef M_ONEBUSY
#define BUSY(g) 0 /* a mutant: one for all, as first planned */
#else
#define BUSY(g) g
#endif
typedef channel { chan c = [2] of { bit } };
channel buffer[G+1];

proctype memory(byte g) {
	bit x;
end:
	do
	:: d_step { buffer[g].c?x -> busy[BUSY(g)] = x; x = 0 }
	od
}

inline fence() {
	k = 1;
	do
	:: k <= G -> empty(buffer[k].c); k++
	:: k > G -> break
	od;
	k = 0
}

/* Uses the place and the memory. */
inline use() {
	d_step { inside++; MUST(alone, inside == 1); MUST(mapped, !gone) };
	d_step { MUST(mapped, !gone); inside-- }
}

proctype goroutine(byte g) {
	byte i, old, k;

	do
	:: i == CALLS -> break
	:: i < CALLS ->
		i++;
		if
		:: lane == g ->
			if
			:: !bar ->
				buffer[g].c!1; /* knock */
				if
				:: bar ->
#ifdef M_LATECOMER
					use(); /* a mutant: it goes on, if not straight */
#endif
					skip
				:: !bar ->
					if
#ifndef M_ONELOOK
					:: lane == g -> use()
					:: lane != g ->
#ifdef M_LATECOMER
						use();
#endif
						skip
#else
					:: true -> use() /* a mutant: it was his when he looked */
#endif
					fi
				fi;
				buffer[g].c!0; /* leaveLane */
				if
				:: bar -> /* endLast */
					empty(buffer[g].c);
					if
					:: out && !busy[BUSY(lane)] -> gone = 1
					:: else
					fi
				:: !bar
				fi
			:: bar
			fi
		:: lane != g && !bar -> /* moveLane */
			if
			:: d_step { !mutex -> mutex = 1 };
				if
#ifndef M_NORECHECK
				:: bar
				:: !bar ->
#else
				:: true -> /* a mutant: it had looked before it had the lock */
#endif
					d_step { empty(buffer[g].c) -> old = lane; lane = 0 };
#ifndef M_NOFENCE
					fence();
#endif
					if
#ifdef M_BLIND
					:: true -> old = g
#else
					:: !busy[BUSY(old)] -> MUST(mapped, !gone); old = g
					:: busy[BUSY(old)]
#endif
					fi;
					d_step { lane = old; old = 0 }
				fi;
				mutex = 0
			:: mutex
			fi
		:: lane != g && bar
		fi
	od
}

proctype detacher() {
	byte k, l;

	d_step { !mutex -> mutex = 1; bar = 1 };
	mutex = 0;
	l = lane;
	if
	:: l != 0 -> fence()
	:: l == 0
	fi;
	out = 1;
	if
	:: !busy[BUSY(l)] -> gone = 1
	:: busy[BUSY(l)]
	fi
}

init {
	atomic {
		run memory(1); run memory(2);
#if G == 3
		run memory(3);
#endif
		run goroutine(1); run goroutine(2);
#if G == 3
		run goroutine(3);
#endif
#ifdef DETACH
		run detacher()
#endif
	}
}
