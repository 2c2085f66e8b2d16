/* Who goes straight to the slots of a side that many share: one goroutine at a time, the one whose number is in the lane
 * (side.raise, up, lower and miss of handle.go). Another one that finds itself not there moves the lane to itself,
 * if nobody is in a call there.
 *
 * Each has a busy of its own. Its stores to that lie in a buffer until they reach memory; its loads do not wait for them.
 */

#ifndef CALLS
#define CALLS 2
#endif
#ifndef G
#define G 2 /* goroutines: numbers 1 to G; 0 is nobody */
#endif
#define MUST(property, holds) assert(property || (holds))

byte lane;
bit busy[G+1], mutex;
byte inside; /* what only the model knows: how many are in the lane */
hidden byte alone; /* a property, see MUST */
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

proctype goroutine(byte g) {
	byte i, old, k;

	do
	:: i == CALLS -> break
	:: i < CALLS ->
		if
		:: lane == g ->
			buffer[g].c!1;
			if
#ifndef M_ONELOOK
			:: lane == g ->
#else
			:: true -> /* a mutant: it was his when he looked */
#endif
				d_step { inside++; MUST(alone, inside == 1) };
				inside--
#ifndef M_ONELOOK
			:: lane != g
#endif
			fi;
			buffer[g].c!0;
			i++
		:: lane != g ->
			i++;
			if
			:: d_step { !mutex -> mutex = 1 };
				d_step { empty(buffer[g].c) -> old = lane; lane = 0 };
#ifndef M_NOFENCE
				k = 1;
				do
				:: k <= G -> empty(buffer[k].c); k++
				:: k > G -> break
				od;
				k = 0;
#endif
				if
#ifdef M_BLIND
				:: true -> old = g
#else
				:: !busy[BUSY(old)] -> old = g
				:: busy[BUSY(old)]
#endif
				fi;
				d_step { lane = old; old = 0; mutex = 0 }
			:: mutex
			fi
		fi
	od
}

init {
	atomic {
		run memory(1); run memory(2);
#if G == 3
		run memory(3);
#endif
		run goroutine(1); run goroutine(2)
#if G == 3
		; run goroutine(3)
#endif
	}
}
