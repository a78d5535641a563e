namespace Vhost.Conformance;

/// <summary>Who is behind a socket.</summary>
internal static class PeerProgram
{
    /// <summary>The name of a process; empty where the system does not tell.</summary>
    public static string NameOf(int process)
    {
        try
        {
            return process > 0 ? File.ReadAllText($"/proc/{process}/comm").Trim() : "";
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
