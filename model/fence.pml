/* Memory order: the pairs "publish, then look for sleepers" and "flag up, then look
 * again", and the value under its publish, with stores that lie in a buffer of their
 * processor until they reach memory.
 *
 * As built, the publish and the flag are read-modify-writes of Go's sync/atomic: they
 * reach memory, and everything before them, before the next load. The mutants take that
 * from one of them, or let the plain stores and loads of the value slip past it.
 */

#ifndef VALUES
#define VALUES 3
#endif
#define MUST(property, holds) assert(property || (holds))

byte word, value, bell; /* memory: the number of the value in the slot, 0 if free; the value */
bit flag;
byte word1, value1; /* in the sender's store buffer, 0 if nothing is */
bit flag1; /* in the receiver's */
hidden byte whole; /* a property, see MUST */

proctype sender() {
	byte i = 1;

	do
	:: i <= VALUES ->
		word1 == 0 && word == 0; /* there is space */
		value1 = i; /* the value: a plain store */
#ifdef M_NOFENCE_WAKER
		word1 = i; /* a mutant: a plain release store publishes */
#else
		d_step { value = i; value1 = 0; word = i }
#endif
		if
		:: flag -> d_step { /* takeWaiter and ring; an And drains the buffer */
			if
			:: value1 != 0 -> value = value1; value1 = 0
			:: else
			fi;
			if
			:: word1 != 0 -> word = word1; word1 = 0
			:: else
			fi;
			if
			:: flag -> flag = 0; bell++
			:: else
			fi }
		:: !flag
		fi;
		i++
	:: else -> break
	od
}

proctype receiver() {
	byte n = 0, w, v;

	do
	:: n == VALUES -> break
	:: else ->
#ifdef M_NOACQUIRE
		v = value; /* a mutant: the loads of the value may come before that of the word */
#endif
		w = word;
		if
		:: w != 0
		:: else -> /* nothing there: flag up, look again, park */
#ifdef M_NOFENCE_SLEEPER
			flag1 = 1;
#else
			flag = 1;
#endif
#ifdef M_NOACQUIRE
			v = value;
#endif
			w = word;
			if
			:: w != 0 -> d_step { flag = 0; flag1 = 0 } /* clearWaiting */
			:: else -> bell > 0; bell--
			fi
		fi;
		if
		:: w != 0 ->
#ifndef M_NOACQUIRE
			v = value;
#endif
			MUST(whole, v == w);
			n++; v = 0; w = 0;
			word = 0 /* free */
		:: else
		fi
	od
}

/* What lies in a buffer reaches memory at any time; a release store not before what is
 * older. */
proctype buffers() {
end:	do
	:: d_step { value1 != 0 -> value = value1; value1 = 0 }
#ifdef M_NORELEASE
	:: d_step { word1 != 0 -> word = word1; word1 = 0 }
#else
	:: d_step { word1 != 0 && value1 == 0 -> word = word1; word1 = 0 }
#endif
	:: d_step { flag1 -> flag = 1; flag1 = 0 }
	od
}

init {
	atomic { run sender(); run receiver(); run buffers() }
}
