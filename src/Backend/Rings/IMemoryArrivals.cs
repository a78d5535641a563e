using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Brings in memory that is still under way, for one queue.</summary>
internal interface IMemoryArrivals
{
    /// <summary>The error number (ECANCELED) that says that nothing is awaited any more.</summary>
    const int Over = Libc.ECANCELED;

    /// <summary>Brings a range in, on a thread that may wait. One at a time: while a former one is under way, that is the one which is returned.</summary>
    /// <param name="range">What is wanted.</param>
    /// <param name="arrived">Called when it is there, from any thread; it takes the place of the former one.</param>
    /// <returns>0, <see cref="Over"/> or another error number.</returns>
    Task<int> BringInAsync(in AbsentRange range, Action arrived);
}
