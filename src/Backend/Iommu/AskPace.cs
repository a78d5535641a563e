namespace Vhost.Backend;

/// <summary>
/// How fast one ring may ask for translations while it gets no further. A chain that needs more of them than are kept would drive out with each answer what it needs next, and several rings what the others need, as fast
/// as the front-end answers. So after some rounds without a chain a ring asks by the clock alone, and one such ring after the other gets as many rounds again: with the others quiet, what can be served is. Whoever gets
/// no further with them waits twice as long for the next.
/// </summary>
/// <remarks>Threading: <see cref="Begins"/> and <see cref="Progresses"/> are whoever's the ring is; <see cref="TryTakeTurn"/> is the clock's.</remarks>
/// <param name="rounds">Rounds without a chain, after which a ring asks by the clock.</param>
internal sealed class AskPace(int rounds)
{
    private const int MostDoublings = 6;

    private readonly int _rounds = rounds;
    private int _left = rounds;
    private int _turns;
    private int _wait;

    /// <summary>A round begins.</summary>
    /// <returns>Whether it may ask now.</returns>
    internal bool Begins()
    {
        int left = Volatile.Read(ref _left);
        if (left > 0)
            Volatile.Write(ref _left, left - 1);
        return left > 0;
    }

    /// <summary>It has got what it asked for.</summary>
    internal void Progresses()
    {
        Volatile.Write(ref _turns, 0);
        Volatile.Write(ref _left, _rounds);
    }

    /// <summary>Once in the time after which all is asked for again.</summary>
    /// <returns>Whether it was out of rounds, and has some again.</returns>
    internal bool TryTakeTurn()
    {
        if (Volatile.Read(ref _left) > 0)
            return false;
        if (_wait > 0)
        {
            _wait--;
            return false;
        }

        int turns = Volatile.Read(ref _turns);
        _wait = (1 << Math.Min(turns, MostDoublings)) - 1;
        Volatile.Write(ref _turns, turns + 1);
        Volatile.Write(ref _left, _rounds);
        return true;
    }
}
