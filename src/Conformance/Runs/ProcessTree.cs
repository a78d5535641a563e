using System.ComponentModel;
using System.Diagnostics;

namespace Vhost.Conformance;

/// <summary>A command and all that it started.</summary>
internal static class ProcessTree
{
    /// <summary>Ends them all. What has ended meanwhile, or may not be ended, is no reason for a run to fail.</summary>
    public static void Kill(Process root)
    {
        try
        {
            root.Kill(entireProcessTree: true);
        }
        catch (Exception failure) when (failure is AggregateException or Win32Exception or InvalidOperationException)
        {
            // Somebody else ends them now.
        }
    }
}
