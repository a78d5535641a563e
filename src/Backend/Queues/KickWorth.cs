namespace Vhost.Backend;

/// <summary>
/// What the kicks of one descriptor are worth, by what came of the last ones. The descriptor is the front-end's: it may be broken, readable for
/// ever, or signalled without reason, and none of that may keep a processor busy.
/// </summary>
internal struct KickWorth
{
    /// <summary>Kicks in a row without an event to consume, or without work on the ring, after which the descriptor is trusted no more.</summary>
    private const int Limit = 16;

    private int _fruitless;
    private int _useless;
    private uint _batches;

    /// <summary>There is nothing to consume, however often the descriptor says so: to be waited for no more.</summary>
    public readonly bool IsBroken => _fruitless >= Limit;

    /// <summary>Nothing has come of the last kicks: to wait a little before the next one. A driver has work between two of its kicks.</summary>
    public readonly bool IsLow => IsBroken || _useless >= Limit;

    /// <summary>Counts a kick.</summary>
    /// <param name="consumed">Whether the descriptor, being readable, had something to consume.</param>
    /// <param name="batches"><see cref="DeviceVirtqueue.Batches"/>, before the ring is looked at for this kick.</param>
    public void Count(bool consumed, uint batches)
    {
        _fruitless = consumed ? 0 : _fruitless + 1;
        _useless = batches != _batches ? 0 : Math.Min(_useless + 1, Limit);
        _batches = batches;
    }
}
