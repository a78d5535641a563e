using System.Globalization;

namespace Vhost.Frontend;

/// <summary>
/// Rings that the session itself has stopped (a suspension, or a start that failed after some had run), and where: until they are started again or the device is reset, nobody else knows. Under the session's gate.
/// </summary>
internal sealed class SuspendedRings
{
    /// <summary>By number; null: stopped, and nobody knows where.</summary>
    private readonly SortedDictionary<int, VringSettings?> _rings = [];

    /// <summary>A start has failed after rings had run: what a snapshot of before says of them is no longer true.</summary>
    internal bool RanSince { get; private set; }

    internal void Note(VringSettings stopped) => _rings[stopped.Index] = stopped with { Kick = null, Call = null, Error = null };

    /// <summary>Nobody knows where: its base could not be, or was not answered.</summary>
    internal void NoteLost(int index) => _rings[index] = null;

    internal void NoteRun() => RanSince = true;

    /// <summary>They run again: whoever stops them next is told where.</summary>
    internal void Forget(IEnumerable<FrontendVring> started)
    {
        foreach (FrontendVring ring in started)
            _rings.Remove(ring.Index);
        RanSince &= _rings.Count > 0;
    }

    internal void Clear()
    {
        _rings.Clear();
        RanSince = false;
    }

    /// <summary>All of them, by number, for a snapshot.</summary>
    /// <exception cref="InvalidOperationException">Of one nobody knows where it goes on.</exception>
    internal IReadOnlyList<VringSettings> Take()
    {
        foreach ((int index, VringSettings? ring) in _rings)
        {
            if (ring is null)
                throw new InvalidOperationException(string.Create(CultureInfo.InvariantCulture, $"Ring {index} was stopped, and its back-end has not said where: no snapshot can go on with it. Reset the device (ResetDeviceAsync)."));
        }

        RanSince = false;
        return [.. _rings.Values.OfType<VringSettings>()];
    }
}
