using System.Runtime.CompilerServices;

namespace Vhost.Conformance.Tests.Support;

/// <summary>
/// Peers of these tests live in the same process, and the suite waits for some things in a thread (a descriptor that is to be closed): with as many threads as processors a peer that is right would be kept
/// from answering in time.
/// </summary>
internal static class ThreadPoolRoom
{
    [ModuleInitializer]
    internal static void Make() => ThreadPool.SetMinThreads(32, 32);
}
