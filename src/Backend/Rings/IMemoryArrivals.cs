using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Brings in memory that is still under way.</summary>
internal interface IMemoryArrivals
{
    /// <summary>The error number (ECANCELED) that says that nothing is awaited any more.</summary>
    const int Over = Libc.ECANCELED;

    /// <summary>Brings a range in, on a thread that may wait.</summary>
    /// <returns>0, <see cref="Over"/> or another error number.</returns>
    Task<int> BringInAsync(in AbsentRange range);
}
